"""The networks of the literal StarGAN v2 have the published sizes, work and names."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.literal.stargan2 import LiteralStarGAN2

PUBLISHED = {
    # size, domains, high pass: parameters of G, F, E, D
    (256, 2, 1.0): (43_467_395, 2_438_272, 20_916_928, 20_852_290),
    (256, 3, 0.0): (33_892_995, 3_259_072, 20_949_760, 20_852_803),
    (64, 2, 0.0): (32_634_883, 2_438_272, 20_327_808, 20_263_170),
    (32, 3, 1.0): (38_314_499, 3_259_072, 18_466_496, 18_369_539),
}


@pytest.mark.parametrize("layout", PUBLISHED)
def test_networks_have_the_published_numbers_of_parameters(layout):
    size, domains, high_pass = layout
    with torch.device("meta"):
        literal = LiteralStarGAN2(size, domains, high_pass=high_pass)
    counts = tuple(sum(p.numel() for p in literal.networks[name].parameters()) for name in "GFED")
    assert counts == PUBLISHED[layout]


@pytest.mark.parametrize(("high_pass", "generator"), [(0.0, 18.03 + 30.61), (1.0, 16.97 + 28.40)])
def test_networks_have_the_published_numbers_of_products(high_pass, generator):
    with torch.device("meta"):
        literal = LiteralStarGAN2(256, 2, high_pass=high_pass)
        x, y, s = torch.empty(1, 3, 256, 256), torch.zeros(1, dtype=torch.long), torch.empty(1, 64)
        for name, given, expected in (("G", (x, s), generator), ("E", (x, y), 16.56), ("D", (x, y), 16.56)):
            with FlopCounterMode(display=False) as counter:
                literal.networks[name](*given)
            # Two operations a product.
            assert counter.get_total_flops() / 2e9 == pytest.approx(expected, abs=0.015), name


def test_parameters_have_their_published_names():
    with torch.device("meta"):
        states = {k: v.state_dict() for k, v in LiteralStarGAN2(256, 2, high_pass=1.0).networks.items()}
    shapes = {f"{k}.{key}": tuple(v.shape) for k, state in states.items() for key, v in state.items()}
    expected = {
        "G.from_rgb.weight": (64, 3, 3, 3),
        "G.encode.0.conv1.weight": (64, 64, 3, 3),
        "G.encode.0.conv2.weight": (128, 64, 3, 3),
        "G.encode.0.conv1x1.weight": (128, 64, 1, 1),
        "G.encode.6.norm2.bias": (512,),
        "G.decode.0.norm1.fc.weight": (1024, 64),
        "G.decode.4.conv1x1.weight": (256, 512, 1, 1),
        "G.decode.6.norm2.fc.bias": (128,),
        "G.to_rgb.0.weight": (64,),
        "G.to_rgb.2.weight": (3, 64, 1, 1),
        "G.hpf.filter": (3, 3),
        "F.shared.0.weight": (512, 16),
        "F.shared.6.bias": (512,),
        "F.unshared.1.6.weight": (64, 512),
        "E.shared.0.weight": (64, 3, 3, 3),
        "E.shared.6.conv1.weight": (512, 512, 3, 3),
        "E.shared.8.weight": (512, 512, 4, 4),
        "E.unshared.1.bias": (64,),
        "D.main.8.weight": (512, 512, 4, 4),
        "D.main.10.weight": (2, 512, 1, 1),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    learned = {key for key in shapes if key.startswith("G.decode") and "conv1x1" in key}
    assert learned == {f"G.decode.{i}.conv1x1.weight" for i in (4, 5, 6)}
