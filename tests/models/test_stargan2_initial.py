"""How the networks of StarGAN v2 start."""

import torch
from torch import nn

from models.stargan2 import Discriminator, Generator, Layout, MappingNetwork, StyleEncoder, he_initialised


def test_he_initialisation_has_the_variance_of_its_fan_in_and_neutral_norms() -> None:
    torch.manual_seed(0)
    layout = Layout(32, 2, hidden_dim=256, base=2**11, widest=128)
    networks = [Generator(layout), MappingNetwork(layout), StyleEncoder(layout), Discriminator(layout)]
    for network in networks:
        assert he_initialised(network) is network
        for name, module in network.named_modules():
            if isinstance(module, nn.InstanceNorm2d):
                assert bool((module.weight == 1).all()), name
                assert not module.bias.any(), name
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            assert module.bias is None or not module.bias.any(), name
            value = module.weight.detach()
            if value.numel() > 4000:
                scaled = value * (value[0].numel() / 2) ** 0.5
                assert abs(float(scaled.std()) - 1) < 4 / (2 * value.numel()) ** 0.5, name
                assert abs(float(scaled.mean())) < 5 / value.numel() ** 0.5, name
                assert float(scaled.abs().max()) > 2.5, name  # normal, not uniform
