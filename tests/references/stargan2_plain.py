"""StarGAN v2 read literally, from state dicts by their published names: nothing reordered, folded or fused.

`B` batch, `C` channels, `H W` pixels, `D` style dimension. Every operation in the order of the paper's appendix and
of the release; convolutions are plain `conv2d`, norms and resizing are written out.
"""

import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def normal(x: Tensor) -> Tensor:
    """Each map of each sample to mean 0 and variance 1."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def affine(x: Tensor, p: Weights, name: str) -> Tensor:
    return normal(x) * p[f"{name}.weight"][None, :, None, None] + p[f"{name}.bias"][None, :, None, None]


def styled(x: Tensor, s: Tensor, p: Weights, name: str) -> Tensor:
    h = linear(s, p, f"{name}.fc")
    half = h.shape[1] // 2
    gamma, beta = h[:, :half, None, None], h[:, half:, None, None]
    return (1 + gamma) * normal(x) + beta


def linear(x: Tensor, p: Weights, name: str) -> Tensor:
    return x @ p[f"{name}.weight"].t() + p[f"{name}.bias"]


def conv(x: Tensor, p: Weights, name: str, padding: int = 0, stride: int = 1) -> Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p.get(f"{name}.bias"), stride=stride, padding=padding)


def halved(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def res_block(x: Tensor, p: Weights, name: str, down: bool) -> Tensor:
    normed = f"{name}.norm1.weight" in p
    h = affine(x, p, f"{name}.norm1") if normed else x
    h = conv(lrelu(h), p, f"{name}.conv1", padding=1)
    if down:
        h = halved(h)
    h = affine(h, p, f"{name}.norm2") if normed else h
    h = conv(lrelu(h), p, f"{name}.conv2", padding=1)
    shortcut = conv(x, p, f"{name}.conv1x1") if f"{name}.conv1x1.weight" in p else x
    if down:
        shortcut = halved(shortcut)
    return (shortcut + h) / math.sqrt(2)


def adain_block(x: Tensor, s: Tensor, p: Weights, name: str, up: bool, high_pass: bool) -> Tensor:
    h = lrelu(styled(x, s, p, f"{name}.norm1"))
    if up:
        h = doubled(h)
    h = conv(h, p, f"{name}.conv1", padding=1)
    h = conv(lrelu(styled(h, s, p, f"{name}.norm2")), p, f"{name}.conv2", padding=1)
    if high_pass:
        return h
    shortcut = doubled(x) if up else x
    if f"{name}.conv1x1.weight" in p:
        shortcut = conv(shortcut, p, f"{name}.conv1x1")
    return (h + shortcut) / math.sqrt(2)


def resized(mask: Tensor, side: int) -> Tensor:
    """Bilinear, corners not aligned, no antialiasing: [B, 1, H, W] -> [B, 1, side, side]."""
    for axis in (2, 3):
        length = mask.shape[axis]
        at = ((torch.arange(side, dtype=mask.dtype) + 0.5) * length / side - 0.5).clamp(0, length - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=length - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        mask = mask.index_select(axis, low) * (1 - share) + mask.index_select(axis, high) * share
    return mask


def sharp(x: Tensor, kernel: Tensor) -> Tensor:
    """The 3x3 kernel over every channel, zeros around."""
    wide = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[2:]
    total = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            total = total + kernel[i, j] * wide[:, :, i : i + height, j : j + width]
    return total


def blocks(p: Weights, stem: str) -> int:
    return 1 + max(int(m[1]) for name in p if (m := re.match(rf"{stem}\.(\d+)\.conv1\.", name)))


def generator(x: Tensor, s: Tensor, p: Weights, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """x [B, 3, S, S], s [B, D] -> [B, 3, S, S]; a high-pass generator if it holds the filter."""
    count, high_pass = blocks(p, "encode"), "hpf.filter" in p
    h = conv(x, p, "from_rgb", padding=1)
    cache: dict[int, Tensor] = {}
    for i in range(count):
        if masks is not None and h.shape[2] in (32, 64, 128):
            cache[h.shape[2]] = h
        h = res_block(h, p, f"encode.{i}", down=i < count - 2)
    for i in range(count):
        h = adain_block(h, s, p, f"decode.{i}", up=i >= 2, high_pass=high_pass)
        side = h.shape[2]
        if masks is not None and side in (32, 64, 128):
            mask = resized(masks[0] if side == 32 else masks[1], side)
            h = h + sharp(mask * cache[side], p["hpf.filter"])
    return conv(lrelu(affine(h, p, "to_rgb.0")), p, "to_rgb.2")


def chosen(heads: list[Tensor], y: Tensor) -> Tensor:
    return torch.stack([heads[int(label)][row] for row, label in enumerate(y)])


def mapping(z: Tensor, y: Tensor, p: Weights) -> Tensor:
    h = z
    for i in (0, 2, 4, 6):
        h = relu(linear(h, p, f"shared.{i}"))
    heads = []
    for k in range(sum(re.fullmatch(r"unshared\.\d+\.0\.weight", name) is not None for name in p)):
        each = h
        for i in (0, 2, 4):
            each = relu(linear(each, p, f"unshared.{k}.{i}"))
        heads.append(linear(each, p, f"unshared.{k}.6"))
    return chosen(heads, y)


def trunk(x: Tensor, p: Weights, stem: str) -> Tensor:
    count = blocks(p, stem) - 1
    h = conv(x, p, f"{stem}.0", padding=1)
    for i in range(1, count + 1):
        h = res_block(h, p, f"{stem}.{i}", down=True)
    return lrelu(conv(lrelu(h), p, f"{stem}.{count + 2}"))


def style_encoder(x: Tensor, y: Tensor, p: Weights) -> Tensor:
    h = trunk(x, p, "shared")[:, :, 0, 0]
    count = sum(re.fullmatch(r"unshared\.\d+\.weight", name) is not None for name in p)
    return chosen([linear(h, p, f"unshared.{k}") for k in range(count)], y)


def discriminator(x: Tensor, y: Tensor, p: Weights) -> Tensor:
    logits = conv(trunk(x, p, "main"), p, f"main.{blocks(p, 'main') - 1 + 4}")[:, :, 0, 0]
    return chosen(list(logits.t()), y)


def stored_norm(x: Tensor, p: Weights, name: str) -> Tensor:
    """Batch normalisation by stored statistics."""
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    scale = p[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
    return (x - mean[None, :, None, None]) * scale[None, :, None, None] + p[f"{name}.bias"][
        None, :, None, None
    ]


def located(x: Tensor) -> Tensor:
    """Three more channels: x along rows, y along columns, radius over its maximum."""
    height, width = x.shape[2:]
    a = torch.tensor([[i / (height - 1) * 2 - 1 for _ in range(width)] for i in range(height)], dtype=x.dtype)
    b = torch.tensor([[j / (width - 1) * 2 - 1 for j in range(width)] for _ in range(height)], dtype=x.dtype)
    r = torch.sqrt(a**2 + b**2)
    return torch.stack([torch.cat([one, torch.stack([a, b, r / r.max()])]) for one in x])


def conv_block(x: Tensor, p: Weights, name: str) -> Tensor:
    outputs, h = [], x
    for i in (1, 2, 3):
        h = conv(relu(stored_norm(h, p, f"{name}.bn{i}")), p, f"{name}.conv{i}", padding=1)
        outputs.append(h)
    shortcut = x
    if f"{name}.downsample.2.weight" in p:
        shortcut = conv(relu(stored_norm(x, p, f"{name}.downsample.0")), p, f"{name}.downsample.2")
    return torch.cat(outputs, dim=1) + shortcut


def hourglass(x: Tensor, p: Weights, level: int) -> Tensor:
    upper = conv_block(x, p, f"m0.b1_{level}")
    lower = conv_block(halved(x), p, f"m0.b2_{level}")
    lower = hourglass(lower, p, level - 1) if level > 1 else conv_block(lower, p, "m0.b2_plus_1")
    return upper + doubled(conv_block(lower, p, f"m0.b3_{level}"))


def fan(x: Tensor, p: Weights) -> Tensor:
    h = relu(stored_norm(conv(located(x), p, "conv1.conv", padding=3, stride=2), p, "bn1"))
    h = halved(conv_block(h, p, "conv2"))
    h = conv_block(conv_block(h, p, "conv3"), p, "conv4")
    h = hourglass(conv(located(h), p, "m0.coordconv.conv"), p, 4)
    h = conv(conv_block(h, p, "top_m_0"), p, "conv_last0")
    return conv(relu(stored_norm(h, p, "bn_end0")), p, "l0")


def shifted(x: Tensor, n: int) -> Tensor:
    """Output row r is input row (r + n) mod H; x [..., H, W]."""
    rows = x.shape[-2]
    return torch.stack([x[..., (r + n) % rows, :] for r in range(rows)], dim=-2)


def masks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Steps 1 to 8 of the release on heat maps [B, 98, H, W], picture by picture and map by map."""
    full, second = [], []
    for picture in maps:
        x = picture.clone()
        for k in range(98):
            x[k] = torch.where(x[k] < 0.1, torch.zeros_like(x[k]), x[k])
            low, high = x[k].min(), x[k].max()
            x[k] = (x[k] - low) / (high - low + 1e-6)
        groups = {
            (8, 24): (0, 3),
            (33, 50): (-7, 2),
            (55, 59): (8, 4),
            (77, 81): (-8, 4),
            (83, 87): (8, 4),
            (88, 95): (-2, 3),
        }
        for (first, last), (shift, power) in groups.items():
            for k in range(first, last + 1):
                x[k] = shifted(x[k], shift) ** power
        for k in (*range(8), *range(25, 33), 33, 46, 76, 82):
            x[k] = 0
        for k in range(52, 55):
            x[k] = shifted(x[k], 4)
        for k in range(60, 76):
            x[k] = shifted(x[k], -8) ** 3 + shifted(x[k], -24)
        x2 = x.clone()
        for k in (*range(8, 25), *range(33, 51), *range(76, 96)):
            x2[k] = 0
        full.append(x.sum(dim=0, keepdim=True).clamp(0, 1))
        second.append(x2.sum(dim=0, keepdim=True).clamp(0, 1))
    return torch.stack(full), torch.stack(second)
