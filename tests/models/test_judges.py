"""The frozen networks that judge; known files come from GRAFT_WEIGHTS, else ../shared/data/weights."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from models.files import WeightsError, read_tensors
from models.judges import PINNED, find_edges, find_eye
from models.judges.efficientnet import EfficientNetLite0, SameConv, folded
from models.judges.eye import loaded, unit_channels
from models.judges.find import BUILT_IN
from models.judges.hed import HED
from models.judges.small_eye import SmallEye
from models.judges.sobel import LUMA, Sobel

ROOT = Path(__file__).parents[2]
WEIGHTS = Path(os.environ.get("GRAFT_WEIGHTS") or ROOT.parent / "shared" / "data" / "weights")


def weights(name: str) -> Path:
    if not (WEIGHTS / f"{name}.safetensors").is_file():
        pytest.skip(f"no {name}.safetensors: name a folder that has it in GRAFT_WEIGHTS")
    return WEIGHTS


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def shipped(target: str) -> torch.Tensor:
    """The ten training pictures of a shipped target, [-1, 1]."""
    folder = ROOT / "pipeline" / "data" / "shipped" / target / "train"
    drawn = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_without_files_the_built_in_networks_judge_under_their_own_names(tmp_path):
    eye, edges = find_eye([tmp_path]), find_edges([tmp_path])
    assert (eye.name, edges.name) == ("graft_eye", "sobel")
    assert eye.sha256 == hashlib.sha256(BUILT_IN.read_bytes()).hexdigest()


def test_no_judge_is_named_after_a_published_metric():
    named = {EfficientNetLite0.name, HED.name, SmallEye.name, Sobel.name}
    assert not named & {"fid", "lpips", "scs", "inception"}


@pytest.mark.parametrize("name", ["efficientnet_lite0", "hed"])
def test_a_file_with_another_hash_is_refused_in_one_sentence(name, tmp_path):
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(b"something else")
    find = find_eye if name == "efficientnet_lite0" else find_edges
    with pytest.raises(WeightsError) as caught:
        find([tmp_path])
    assert str(path) in str(caught.value)
    assert PINNED[name][:12] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "hed"])
def test_a_known_file_in_a_later_folder_is_found(name, tmp_path):
    folder = weights(name)
    found = (find_eye if name == "efficientnet_lite0" else find_edges)([tmp_path, folder])
    assert (found.name, found.sha256) == (name, PINNED[name])


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="another network"):
        loaded(HED(), read_tensors(BUILT_IN))


def test_taps_have_unit_length_and_features_are_the_same_in_any_batch(pictures):
    eye = find_eye([])
    seen = eye.see(pictures)
    for tap in seen.taps:
        length = tap.square().sum(1).sqrt()
        assert bool(((length - 1).abs() < 1e-5).logical_or(length < 1e-5).all())
    alone = torch.cat([eye.features(picture[None]) for picture in pictures])
    torch.testing.assert_close(alone, seen.features, rtol=1e-4, atol=1e-5)


def test_the_eye_takes_pictures_of_any_size():
    eye = find_eye([])
    assert eye.features(torch.zeros(2, 3, 128, 96)).shape == eye.features(torch.zeros(2, 3, 64, 64)).shape


def test_the_shipped_eye_is_small_and_frozen():
    eye = find_eye([])
    assert isinstance(eye, SmallEye)
    assert sum(p.numel() for p in eye.parameters()) <= 600_000
    assert not eye.training
    assert not any(p.requires_grad for p in eye.parameters())


def test_unit_channels_of_nothing_is_nothing():
    assert unit_channels(torch.zeros(1, 4, 2, 2)).abs().max() == 0


def tensorflow_same(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """Direct float64 loops: output i reads inputs from i * stride - before, before = total padding // 2."""
    side, k = x.shape[-1], weight.shape[-1]
    out = -(-side // stride)
    before = max((out - 1) * stride + k - side, 0) // 2
    y = torch.zeros(1, weight.shape[0], out, out, dtype=torch.float64)
    for i in range(out):
        for j in range(out):
            for u in range(k):
                for v in range(k):
                    row, column = i * stride - before + u, j * stride - before + v
                    if 0 <= row < side and 0 <= column < side:
                        y[0, :, i, j] += weight[:, :, u, v].double() @ x[0, :, row, column].double()
    return y


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (8, 5, 2), (6, 5, 1)])
def test_same_padding_is_tensorflows(side, kernel, stride):
    torch.manual_seed(0)
    conv = SameConv(2, 3, kernel, stride, bias=False)
    x = torch.randn(1, 2, side, side)
    torch.testing.assert_close(
        conv(x).double(), tensorflow_same(x, conv.weight.detach(), stride), rtol=1e-5, atol=1e-5
    )


def test_folded_batch_norms_leave_the_function_as_it_was(pictures):
    torch.manual_seed(0)
    plain = EfficientNetLite0().eval()
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    before = plain.see(pictures[:2])
    after = folded(plain).see(pictures[:2])
    torch.testing.assert_close(after.features, before.features, rtol=1e-3, atol=1e-5)
    assert [tuple(tap.shape[1:]) for tap in after.taps] == [
        (24, 56, 56),
        (40, 28, 28),
        (112, 14, 14),
        (320, 7, 7),
    ]


def test_efficientnet_has_1280_features_and_1000_classes():
    eye = find_eye([weights("efficientnet_lite0")])
    assert isinstance(eye, EfficientNetLite0)
    assert eye.features(shipped("lorelei")[:2]).shape == (2, 1280)
    assert eye.classes(shipped("lorelei")[:2]).shape == (2, 1000)


def test_hed_is_vgg16_with_five_side_outputs(pictures):
    """Against the five stages written out with torchvision's indices, on the file itself."""
    tensors = {k: v.float() for k, v in read_tensors(weights("hed") / "hed.safetensors").items()}
    x = pictures[:1].flip(1) * 127.5 + 127.5
    x = x - torch.tensor([104.00699, 116.66877, 122.67892])[None, :, None, None]
    sides = []
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True) if stage > 1 else x
        for index in range(1, count + 1):
            name = f"conv{stage}_{index}"
            x = functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1).clamp(
                min=0
            )
        side = functional.conv2d(x, tensors[f"dsn{stage}.weight"], tensors[f"dsn{stage}.bias"])
        sides.append(functional.interpolate(side, (64, 64), mode="bilinear", align_corners=False))
    fused = functional.conv2d(torch.cat(sides, 1), tensors["fuse.weight"], tensors["fuse.bias"]).sigmoid()
    torch.testing.assert_close(find_edges([WEIGHTS]).map(pictures[:1]), fused)


@pytest.mark.parametrize("name", ["hed", "sobel"])
def test_edges_are_drawn_where_a_shape_ends(name):
    edges = find_edges([weights("hed")] if name == "hed" else [])
    picture = torch.ones(1, 3, 65, 63)
    picture[:, :, 20:45, 20:45] = -1
    edge = edges.map(picture)
    assert edge.shape == (1, 1, 65, 63)
    assert 0 <= float(edge.min()) <= float(edge.max()) <= 1
    assert float(edge[0, 0, 30, 20]) > 0.5
    assert float(edge[0, 0, 5, 5]) < 0.3


def test_sobel_is_the_gradient_of_smoothed_luminance(pictures):
    """Against scipy's convolutions, border replicated, in float64."""
    light = (((pictures[0].double().numpy() + 1) / 2) * np.array(LUMA)[:, None, None]).sum(0)
    for axis in (0, 1):
        light = ndimage.correlate1d(light, [0.25, 0.5, 0.25], axis, mode="nearest")
    gradients = [ndimage.sobel(light, axis, mode="nearest") / 4 / 0.75 for axis in (0, 1)]
    square = gradients[0] ** 2 + gradients[1] ** 2
    expected = torch.from_numpy(square / (square + 0.08**2))
    torch.testing.assert_close(Sobel().map(pictures[:1])[0, 0].double(), expected, rtol=1e-3, atol=1e-5)


def test_a_flat_picture_has_no_edges():
    assert Sobel().map(torch.full((1, 3, 8, 8), 0.3)).max() < 1e-6


def test_the_built_in_eye_tells_two_artists_apart_more_than_one_artists_two_halves():
    lorelei, pixels = shipped("lorelei"), shipped("pixelArt")
    eye = find_eye([])
    first, second, other = (eye.features(x).mean(0) for x in (lorelei[::2], lorelei[1::2], pixels))
    assert (first - other).norm() > 2 * (first - second).norm()


def test_a_copied_file_is_still_the_known_one(tmp_path):
    shutil.copy(weights("efficientnet_lite0") / "efficientnet_lite0.safetensors", tmp_path)
    assert find_eye([tmp_path]).name == "efficientnet_lite0"
