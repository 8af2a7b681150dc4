"""A small classifier of one factor: which domain, glasses or none, which skin.

B batch, C channels, H W pixels. Pictures are float [-1, 1], RGB, NCHW.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.judges.eye import resized

NAME = "factor_classifier"
SIDE = 64
GROUPS = 8


class Classifier(nn.Module):
    """Four strided convolutions (3 x 3, group norm, ReLU; sides 32, 16, 8, 4) and one linear layer.

    classes: number of values. width: channels of the first layer, a multiple of 8; the others have 2, 3 and
    4 times as many. Group norm: a picture's answer does not depend on its batch, in training or after.
    """

    name = NAME

    def __init__(self, classes: int, width: int = 24) -> None:
        super().__init__()
        self.classes = classes
        widths = [3, *(width * factor for factor in (1, 2, 3, 4))]
        self.convs = nn.ModuleList(
            nn.Conv2d(inside, outside, 3, 2, 1) for inside, outside in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, outside) for outside in widths[1:])
        # The 4 x 4 map and not its mean: a moustache and a hat differ in where they are.
        self.head = nn.Linear(widths[-1] * 16, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], resized to 64 -> logits [B, classes]; carries gradients."""
        x = resized(pictures, SIDE)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x)))
        logits: Tensor = self.head(x.flatten(1))
        return logits

    @torch.no_grad()
    def predicted(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> the likeliest value of each, int64 [B]."""
        logits: Tensor = self(pictures)
        return logits.argmax(1)
