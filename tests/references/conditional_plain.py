"""DCGAN, BicycleGAN and DRIT read literally from a state dict, norms and paddings written out.

`B` batch, `C` channels, `H W` pixels. Codes are spread over the pixels wherever the papers do so.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def lrelu(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def standard(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Mean 0 and variance 1 (divisor n, 1e-5 added) over `axes`."""
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=axes, keepdim=True) + 1e-5)


def instance(x: Tensor) -> Tensor:
    return standard(x, (2, 3))


def mirror(x: Tensor, by: int) -> Tensor:
    """Reflection without repeating the border."""
    side = x.shape[2]
    index = [side - 1 - abs(side - 1 - abs(i)) for i in range(-by, side + by)]
    return x[:, :, index][:, :, :, index]


def conv(x: Tensor, p: Weights, name: str, stride: int = 1, pad: int = 0, mirrored: int = 0) -> Tensor:
    x = mirror(x, mirrored) if mirrored else x
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], stride=stride, padding=pad)


def up(x: Tensor, p: Weights, name: str, stride: int = 1, pad: int = 0, out: int = 0) -> Tensor:
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return F.conv_transpose2d(x, weight, bias, stride=stride, padding=pad, output_padding=out)


def linear(x: Tensor, p: Weights, name: str) -> Tensor:
    return x @ p[f"{name}.weight"].t() + p[f"{name}.bias"]


def spread(x: Tensor, z: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    return torch.cat([x, z.view(batch, -1, 1, 1).expand(batch, z.shape[1], height, width)], 1)


def mean2(x: Tensor) -> Tensor:
    even_h, even_w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    x = x[:, :, :even_h, :even_w]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def mean3(x: Tensor) -> Tensor:
    """Mean of the 3 x 3 neighbours that exist, at every second pixel."""
    rows = []
    for i in range(0, x.shape[2], 2):
        row = []
        for j in range(0, x.shape[3], 2):
            row.append(x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean(dim=(2, 3)))
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


def one_hot(y: Tensor, classes: int) -> Tensor:
    return torch.eye(classes, dtype=torch.float64)[y]


def batch_norm(x: Tensor, p: Weights, name: str, training: bool) -> Tensor:
    if training:
        x = standard(x, (0, 2, 3))
    else:
        mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        x = (x - mean.view(1, -1, 1, 1)) / torch.sqrt(variance.view(1, -1, 1, 1) + 1e-5)
    return x * p[f"{name}.weight"].view(1, -1, 1, 1) + p[f"{name}.bias"].view(1, -1, 1, 1)


def dcgan_generator(p: Weights, z: Tensor, y: Tensor, classes: int, training: bool) -> Tensor:
    x = torch.cat([z, one_hot(y, classes)], 1).view(len(z), -1, 1, 1)
    last = max(int(name.split(".")[1]) for name in p)
    x = up(x, p, "layers.0")
    for i in range(1, last, 3):
        x = relu(batch_norm(x, p, f"layers.{i}", training))
        x = up(x, p, f"layers.{i + 2}", 2, 1)
    return torch.tanh(x)


def dcgan_body(p: Weights, x: Tensor, y: Tensor, classes: int, training: bool) -> Tensor:
    x = lrelu(conv(spread(x, one_hot(y, classes)), p, "layers.0", 2, 1), 0.2)
    i = 2
    while f"layers.{i}.weight" in p:
        x = batch_norm(conv(x, p, f"layers.{i}", 2, 1), p, f"layers.{i + 1}", training)
        x, i = lrelu(x, 0.2), i + 3
    return x


def unet(p: Weights, x: Tensor, z: Tensor, level: int, masks: Mapping[int, Tensor]) -> Tensor:
    """One block of the nested U-net: its own input is beside what it returns, except for the outermost."""
    innermost = f"downs.{level + 1}.weight" not in p
    y = spread(x, z)
    if level > 0:
        y = lrelu(y, 0.2)
    y = conv(y, p, f"downs.{level}", 2, 1)
    if level > 0 and not innermost:
        y = instance(y)
    if not innermost:
        y = unet(p, y, z, level + 1, masks)
    y = up(relu(y), p, f"ups.{level}", 2, 1)
    if level == 0:
        return torch.tanh(y)
    y = instance(y)
    if level in masks:
        y = y * masks[level]
    return torch.cat([y, x], 1)


def down_block(p: Weights, name: str, x: Tensor, normalise: bool) -> Tensor:
    """Of BicycleGAN's encoder (norms, zeros) or DRIT's (no norm, mirrored)."""
    pad, mirrored = (1, 0) if normalise else (0, 1)
    y = lrelu(instance(x) if normalise else x, 0.2)
    y = conv(y, p, f"{name}.conv1", 1, pad, mirrored)
    y = lrelu(instance(y) if normalise else y, 0.2)
    y = mean2(conv(y, p, f"{name}.conv2", 1, pad, mirrored))
    return y + conv(mean2(x), p, f"{name}.shortcut")


def gaussian(p: Weights, prefix: str, x: Tensor, normalise: bool) -> tuple[Tensor, Tensor]:
    """Mean and log-variance."""
    x = conv(x, p, f"{prefix}first", 2, 1) if normalise else conv(x, p, f"{prefix}first", 2, 0, 1)
    i = 0
    while f"{prefix}blocks.{i}.conv1.weight" in p:
        x, i = down_block(p, f"{prefix}blocks.{i}", x, normalise), i + 1
    x = lrelu(x, 0.2).flatten(2).mean(2)
    return linear(x, p, f"{prefix}mean"), linear(x, p, f"{prefix}log_variance")


def bicycle_discriminator(p: Weights, x: Tensor, halvings: int) -> list[Tensor]:
    maps = []
    for scale, picture in enumerate((x, mean3(x))):
        y, i = lrelu(conv(picture, p, f"scales.{scale}.0", 2, 1), 0.2), 2
        for stage in range(halvings):
            stride = 1 if stage == halvings - 1 else 2
            y, i = lrelu(instance(conv(y, p, f"scales.{scale}.{i}", stride, 1)), 0.2), i + 3
        maps.append(conv(y, p, f"scales.{scale}.{i}", 1, 1))
    return maps


def residual(p: Weights, name: str, x: Tensor) -> Tensor:
    y = relu(instance(conv(x, p, f"{name}.conv1", mirrored=1)))
    return instance(conv(y, p, f"{name}.conv2", mirrored=1)) + x


def drit_content(p: Weights, x: Tensor, domain: int) -> Tensor:
    x = lrelu(conv(x, p, f"own.{domain}.0", mirrored=3), 0.01)
    for i in (2, 5):
        x = relu(instance(conv(x, p, f"own.{domain}.{i}", 2, mirrored=1)))
    for i in (8, 9, 10):
        x = residual(p, f"own.{domain}.{i}", x)
    return residual(p, "shared", x)


def drit_plain_attributes(p: Weights, x: Tensor, domain: int) -> Tensor:
    x = relu(conv(x, p, f"own.{domain}.0", mirrored=3))
    for i in (2, 4, 6, 8):
        x = relu(conv(x, p, f"own.{domain}.{i}", 2, mirrored=1))
    return conv(x.mean(dim=(2, 3), keepdim=True), p, f"own.{domain}.11").flatten(1)


def drit_up(p: Weights, name: str, x: Tensor) -> Tensor:
    """Transposed convolution, layer norm over C, H, W with one scale and bias a channel, ReLU."""
    x = standard(up(x, p, f"{name}.conv", 2, 1, 1), (1, 2, 3))
    return relu(x * p[f"{name}.norm.weight"].view(1, -1, 1, 1) + p[f"{name}.norm.bias"].view(1, -1, 1, 1))


def drit_concat(p: Weights, content: Tensor, z: Tensor, domain: int) -> Tensor:
    own = f"own.{domain}"
    x = spread(residual(p, "shared", content), z)
    for i in range(3):
        x = residual(p, f"{own}.blocks.{i}", x)
    x = drit_up(p, f"{own}.up1", spread(x, z))
    x = drit_up(p, f"{own}.up2", spread(x, z))
    return torch.tanh(up(spread(x, z), p, f"{own}.to_rgb"))


def drit_featurewise(p: Weights, content: Tensor, z: Tensor, domain: int) -> Tensor:
    own = f"own.{domain}"
    code = relu(linear(relu(linear(z, p, f"{own}.codes.0")), p, f"{own}.codes.2"))
    codes = linear(code, p, f"{own}.codes.4")
    x, channels = content, content.shape[1]
    for i in range(4):
        part, y = codes[:, i * channels : (i + 1) * channels], x
        for half in (1, 2):
            y = spread(instance(conv(y, p, f"{own}.blocks.{i}.conv{half}", mirrored=1)), part)
            y = relu(conv(y, p, f"{own}.blocks.{i}.mix{half}.both"))
            y = relu(conv(y, p, f"{own}.blocks.{i}.mix{half}.last"))
        x = y + x
    x = drit_up(p, f"{own}.up2", drit_up(p, f"{own}.up1", x))
    return torch.tanh(up(x, p, f"{own}.to_rgb"))


def drit_images(p: Weights, x: Tensor, scales: int) -> list[Tensor]:
    maps = []
    for scale in range(scales):
        y = x
        for i in (0, 2, 4, 6):
            y = lrelu(conv(y, p, f"scales.{scale}.{i}", 2, mirrored=1), 0.01)
        maps.append(conv(y, p, f"scales.{scale}.8"))
        x = mean3(x)
    return maps


def drit_contents(p: Weights, x: Tensor, halvings: Sequence[int]) -> Tensor:
    for i in halvings:
        x = lrelu(conv(x, p, f"layers.{i}", 2, mirrored=1), 0.01)
    last = 2 * len(halvings)
    return conv(lrelu(conv(x, p, f"layers.{last}"), 0.01), p, f"layers.{last + 2}")
