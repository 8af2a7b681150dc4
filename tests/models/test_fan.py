"""The face alignment network and the masks made from it, against their literal reading."""

import re

import pytest
import torch
from torch import Tensor, nn

from models.files import WeightsError
from models.stargan2 import FAN, Layout, fan_of, heat_maps, masks_from, masks_of, nets_state, read_nets
from models.stargan2.generator import Generator
from models.stargan2.styles import MappingNetwork
from tests.references import stargan2_plain as plain


@pytest.fixture(scope="module")
def fan() -> FAN:
    """Random, with statistics of its own in every batch norm."""
    torch.manual_seed(2)
    made = FAN()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    return made


def test_it_has_the_published_number_of_parameters_and_the_published_names() -> None:
    with torch.device("meta"):
        net = FAN()
    assert sum(p.numel() for p in net.parameters()) == 6_333_603
    shapes = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert shapes["conv1.conv.weight"] == [64, 6, 7, 7]
    assert shapes["m0.coordconv.conv.weight"] == [256, 259, 1, 1]
    assert shapes["l0.weight"] == [99, 256, 1, 1]
    blocks = {m[1] for name in shapes if (m := re.match(r"(.+)\.conv1\.weight$", name))}
    hourglass = {f"m0.b{i}_{level}" for i in (1, 2, 3) for level in (1, 2, 3, 4)}
    assert blocks == {"conv2", "conv3", "conv4", "top_m_0", "m0.b2_plus_1"} | hourglass
    widened = {name.split(".")[0] for name in shapes if ".downsample.2." in name}
    assert widened == {"conv2", "conv4"}
    tops = {name.split(".")[0] for name in shapes}
    assert tops == {"conv1", "bn1", "conv2", "conv3", "conv4", "m0", "top_m_0", "conv_last0", "bn_end0", "l0"}
    biased = {name.removesuffix(".bias") for name in shapes if re.search(r"(conv\d?|last0|l0)\.bias$", name)}
    assert biased == {"conv1.conv", "m0.coordconv.conv", "conv_last0", "l0"}


def test_maps_equal_the_literal_network(fan: FAN) -> None:
    p = {name: value.double() for name, value in fan.state_dict().items()}
    x = torch.rand(2, 3, 64, 128)
    theirs = plain.fan(x.double(), p)
    ours = fan(x)
    assert ours.shape == (2, 99, 16, 32)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_it_never_learns_and_never_leaves_evaluation(fan: FAN) -> None:
    before = {name: value.clone() for name, value in fan.state_dict().items()}
    fan.train()
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    assert torch.allclose(fan(x)[:1], fan(x[:1]), atol=1e-5)  # no statistics of the batch
    assert not any(module.training for module in fan.modules())
    assert not any(p.requires_grad for p in fan.parameters())
    assert all(torch.equal(before[name], value) for name, value in fan.state_dict().items())


def random_maps() -> Tensor:
    """Two pictures' heat maps, a few pixels wide: mostly nothing, as real ones, some faint, one of them silent."""
    rng = torch.Generator().manual_seed(4)
    heights, places = torch.rand(2, 2, 98, 256, 3, generator=rng, dtype=torch.float64)
    maps = torch.where(places < 0.01, heights, -0.02)
    maps[0, 60] = 0.0
    return maps


def test_masks_equal_the_release_step_by_step() -> None:
    maps = random_maps()
    before = maps.clone()
    ours, theirs = masks_from(maps), plain.masks(maps)
    assert torch.equal(maps, before)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == (2, 1, 256, 3)
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
        assert float(((a > 0) & (a < 1)).double().mean()) > 0.2  # clamping hides little


@pytest.mark.parametrize("landmark", range(98))
def test_each_landmark_counts_where_and_how_it_does_in_the_release(landmark: int) -> None:
    maps = torch.zeros(1, 98, 256, 2, dtype=torch.float64)
    maps[0, landmark, 90:93, 0] = torch.tensor([0.2, 0.8, 0.5])
    for a, b in zip(masks_from(maps), plain.masks(maps), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_hand_worked_rows_of_a_chin_an_eye_and_a_nostril() -> None:
    maps = torch.zeros(3, 98, 256, 1, dtype=torch.float64)
    maps[0, 10, 100] = maps[1, 70, 100] = maps[2, 57, 100] = 0.7
    full, eyes_nose = masks_from(maps)
    rows = [full[i, 0, :, 0].nonzero().flatten().tolist() for i in range(3)]
    assert rows == [[100], [108, 124], [92]]
    assert not eyes_nose[0].any()
    assert torch.equal(eyes_nose[1:], full[1:])
    assert float(full[0].max()) == pytest.approx((0.7 / (0.7 + 1e-6)) ** 3, abs=1e-12)


def test_a_picture_whose_map_is_not_a_number_has_no_mask_and_leaves_others_alone() -> None:
    maps = random_maps()
    clean = masks_from(maps)
    maps[0, 61, 5, 1] = float("nan")
    for broken, whole in zip(masks_from(maps), clean, strict=True):
        assert not broken[0].any()
        assert torch.equal(broken[1], whole[1])


def test_masks_of_pictures_are_those_of_their_heat_maps(fan: FAN) -> None:
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True) * 2 - 1
    maps = heat_maps(fan, pictures)
    assert maps.shape == (1, 98, 256, 256)
    small = fan((plain.resized(pictures.detach(), 256) + 1) / 2)[:, :98]
    # Corners are aligned when maps are enlarged, so those of the small maps stay what they are.
    corners = maps[:, :, ::255, ::255]
    assert torch.allclose(corners, small[:, :, ::63, ::63], atol=1e-3 * float(small.abs().max()))
    masks = masks_of(fan, pictures)
    for mask, expected in zip(masks, masks_from(maps), strict=True):
        assert mask.shape == (1, 1, 256, 256)
        assert not mask.requires_grad
        assert torch.equal(mask, expected)


def test_it_is_read_beside_the_other_networks_and_from_a_larger_model(fan: FAN) -> None:
    layout = Layout(32, 2, style_dim=3, hidden_dim=4, base=2**7, widest=8, high_pass=1.0)
    state = nets_state(
        {"generator": Generator(layout), "mapping_network": MappingNetwork(layout), "fan": fan}
    )
    _, networks = read_nets(state)
    found = networks["fan"]
    assert isinstance(found, FAN)
    assert not any(p.requires_grad for p in found.parameters())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(found(x), fan(x))
    larger = {f"module.{name}": value for name, value in state["fan"].items()} | {"m1.b1_4.bn1.weight": x}
    assert torch.equal(fan_of(larger)(x), fan(x))
    with pytest.raises(WeightsError, match=r"fan: tensor m1\.b1_4\.bn1\.weight has no place in the face"):
        read_nets(state | {"fan": larger})
    with pytest.raises(WeightsError, match=r"fan: tensor l0\.bias is missing"):
        fan_of({name: value for name, value in larger.items() if name != "module.l0.bias"})
    with pytest.raises(WeightsError, match=r"fan: tensor l0\.bias is \[68\], but .* makes it \[99\]"):
        fan_of(larger | {"module.l0.bias": torch.zeros(68)})
