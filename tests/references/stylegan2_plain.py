"""StyleGAN2 read literally, from a state dict by its published names: sample by sample, nothing folded, nothing fused.

`B` batch, `C` channels, `H W` pixels, `L` style layers, `D` style dimension. Equations of Karras et al. 2020 in the
order of the official release; every scale and gain stands where the paper has it.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]
ROW = (1.0, 3.0, 3.0, 1.0)


def upfirdn(x: Tensor, gain: float, up: int, pad: tuple[int, int]) -> Tensor:
    """Zeros inserted, zeros around, then every output pixel as a sum over the 4 x 4 kernel outer(ROW) / 64 x gain."""
    batch, channels, height, width = x.shape
    wide = x.new_zeros(batch, channels, height * up, width * up)
    wide[:, :, ::up, ::up] = x
    wide = F.pad(wide, (*pad, *pad))
    rows, columns = wide.shape[2] - 3, wide.shape[3] - 3
    total = x.new_zeros(batch, channels, rows, columns)
    for i in range(4):
        for j in range(4):
            total = total + wide[:, :, i : i + rows, j : j + columns] * (ROW[i] * ROW[j] / 64 * gain)
    return total


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def linear(x: Tensor, p: Weights, name: str, lr_mul: float = 1.0, activate: bool = False) -> Tensor:
    weight = p[f"{name}.weight"] * (lr_mul / math.sqrt(x.shape[1]))
    y = x @ weight.t() + p[f"{name}.bias"] * lr_mul
    return math.sqrt(2) * lrelu(y) if activate else y


def modulated(x: Tensor, w: Tensor, p: Weights, name: str, demodulate: bool, up: bool = False) -> Tensor:
    """One convolution a sample, each with kernels of its own."""
    weight = p[f"{name}.weight"][0]
    _, inputs, side, _ = weight.shape
    scales = linear(w, p, f"{name}.modulation")
    outputs = []
    for b in range(len(x)):
        kernel = weight / math.sqrt(inputs * side * side) * scales[b][None, :, None, None]
        if demodulate:
            kernel = kernel * torch.rsqrt(kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        one = x[b : b + 1]
        if up:
            one = upfirdn(F.conv_transpose2d(one, kernel.transpose(0, 1), stride=2), 4.0, 1, (1, 1))
        else:
            one = F.conv2d(one, kernel, padding=side // 2)
        outputs.append(one)
    return torch.cat(outputs)


def styled(x: Tensor, w: Tensor, noise: Tensor, p: Weights, name: str, up: bool) -> Tensor:
    y = modulated(x, w, p, f"{name}.conv", demodulate=True, up=up)
    y = y + p[f"{name}.noise.weight"] * noise
    return math.sqrt(2) * lrelu(y + p[f"{name}.activate.bias"][None, :, None, None])


def coloured(x: Tensor, w: Tensor, p: Weights, name: str, picture: Tensor | None) -> Tensor:
    y = modulated(x, w, p, f"{name}.conv", demodulate=False) + p[f"{name}.bias"]
    return y if picture is None else y + upfirdn(picture, 4.0, 2, (2, 1))


def mapping(z: Tensor, p: Weights) -> Tensor:
    w = z / torch.sqrt((z * z).mean(dim=1, keepdim=True) + 1e-8)
    layer = 1
    while f"style.{layer}.weight" in p:
        w = linear(w, p, f"style.{layer}", lr_mul=0.01, activate=True)
        layer += 1
    return w


def synthesis(styles: Tensor, noise: Sequence[Tensor], p: Weights) -> tuple[Tensor, list[Tensor]]:
    """styles [B, L, D], one noise map a layer -> the picture and every styled convolution's output."""
    x = p["input.input"].repeat(len(styles), 1, 1, 1)
    x = styled(x, styles[:, 0], noise[0], p, "conv1", up=False)
    features = [x]
    picture = coloured(x, styles[:, 1], p, "to_rgb1", None)
    block = 0
    while f"to_rgbs.{block}.bias" in p:
        first = 1 + 2 * block
        x = styled(x, styles[:, first], noise[first], p, f"convs.{2 * block}", up=True)
        features.append(x)
        x = styled(x, styles[:, first + 1], noise[first + 1], p, f"convs.{2 * block + 1}", up=False)
        features.append(x)
        picture = coloured(x, styles[:, first + 2], p, f"to_rgbs.{block}", picture)
        block += 1
    return picture, features


def convolved(
    x: Tensor, p: Weights, weight: str, bias: str | None, stride: int = 1, padding: int = 0
) -> Tensor:
    kernel = p[weight]
    y = F.conv2d(x, kernel / math.sqrt(kernel[0].numel()), stride=stride, padding=padding)
    return y if bias is None else math.sqrt(2) * lrelu(y + p[bias][None, :, None, None])


def deviation(x: Tensor, group: int) -> Tensor:
    """[B, C, H, W] -> [B, 1, H, W]: per group, the mean over C H W of the standard deviation over its members."""
    count = len(x)
    groups = count // group
    values: list[Tensor] = []
    for first in range(groups):
        members = [x[first + groups * k] for k in range(group)]
        mean = sum(members[1:], members[0]) / group
        spread = sum(((m - mean) ** 2 for m in members[1:]), (members[0] - mean) ** 2) / group
        values.append(torch.sqrt(spread + 1e-8).mean())
    channel = [values[t % groups].expand(1, *x.shape[2:]) for t in range(count)]
    return torch.stack(channel)


def discriminator(
    pictures: Tensor, p: Weights, group: int = 4
) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
    """Logits [B, 1], and the outputs of conv1 and conv2 of every block k under (k, 1) and (k, 2), k from 1."""
    x = convolved(pictures, p, "convs.0.0.weight", "convs.0.1.bias")
    inside: dict[tuple[int, int], Tensor] = {}
    k = 1
    while f"convs.{k}.skip.1.weight" in p:
        name = f"convs.{k}"
        h = convolved(x, p, f"{name}.conv1.0.weight", f"{name}.conv1.1.bias", padding=1)
        inside[k, 1] = h
        h = upfirdn(h, 1.0, 1, (2, 2))
        h = convolved(h, p, f"{name}.conv2.1.weight", f"{name}.conv2.2.bias", stride=2)
        inside[k, 2] = h
        skip = convolved(upfirdn(x, 1.0, 1, (1, 1)), p, f"{name}.skip.1.weight", None, stride=2)
        x = (h + skip) / math.sqrt(2)
        k += 1
    x = torch.cat([x, deviation(x, min(group, len(x)))], dim=1)
    x = convolved(x, p, "final_conv.0.weight", "final_conv.1.bias", padding=1)
    x = linear(x.flatten(1), p, "final_linear.0", activate=True)
    return linear(x, p, "final_linear.1"), inside
