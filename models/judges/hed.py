"""Holistically-nested edge detection (Xie and Tu 2015): VGG16 with five side outputs, fused.

B batch, H W pixels. Pictures are float [-1, 1], RGB, NCHW.
The weights read here were trained again by others on BSDS500: scores made with them are not SCS as published.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.judges.eye import loaded

NAME = "hed"
# Channels and number of 3x3 convolutions of VGG16's five stages.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# Means of blue, green, red in 0..255, subtracted before the first layer; as in Caffe's VGG16.
MEANS = (104.00699, 116.66877, 122.67892)


class HED(nn.Module):
    """Names as in the file: `conv1_1` ... `conv5_3`, `dsn1` ... `dsn5`, `fuse`."""

    name = NAME

    def __init__(self, sha256: str = "") -> None:
        super().__init__()
        self.sha256 = sha256
        inside = 3
        for stage, (channels, count) in enumerate(STAGES, 1):
            for index in range(1, count + 1):
                self.add_module(f"conv{stage}_{index}", nn.Conv2d(inside, channels, 3, padding=1))
                inside = channels
            self.add_module(f"dsn{stage}", nn.Conv2d(channels, 1, 1))
        self.fuse = nn.Conv2d(5, 1, 1)

    @torch.no_grad()
    def map(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> fused edge probability [B, 1, H, W], at the pictures' own size.

        Side maps are resized bilinearly (half-pixel centres); pooling is 2 x 2, ceiling at odd sides.
        """
        means = pictures.new_tensor(MEANS).view(1, 3, 1, 1)
        x = (pictures.flip(1) + 1) * 127.5 - means
        sides: list[Tensor] = []
        for stage, (_, count) in enumerate(STAGES, 1):
            if stage > 1:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            for index in range(1, count + 1):
                x = functional.relu(self.get_submodule(f"conv{stage}_{index}")(x), inplace=True)
            side: Tensor = self.get_submodule(f"dsn{stage}")(x)
            sides.append(functional.interpolate(side, pictures.shape[-2:], mode="bilinear"))
        fused: Tensor = self.fuse(torch.cat(sides, 1))
        return fused.sigmoid()


def hed(tensors: Mapping[str, Tensor], sha256: str) -> HED:
    """The frozen network with these weights (any float type)."""
    return loaded(HED(sha256), tensors)
