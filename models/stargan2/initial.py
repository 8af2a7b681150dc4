"""How StarGAN v2's networks start."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def he_initialised(module: M) -> M:
    """Every convolution and linear layer normal with std sqrt(2 / fan_in), bias 0; norms scale 1, offset 0.

    In place, from torch's global generator. He et al. 2015, as released; AdaIN's projections are linear layers too.
    The release copies its averages before this and so starts them elsewhere: copy after it.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        if isinstance(part, nn.InstanceNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    return module
