"""Patch heads: a logit for every position of a discriminator's feature map (CDC, Ojha et al. 2021).

`B` batch, `C` channels, `h` side of the tapped feature map.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchHeads(nn.Module):
    """One 3x3 convolution to a logit map per tap.

    The release sends the logit through sqrt(2) lrelu, which shrinks negative logits by five; `activate` keeps that.
    """

    def __init__(self, channels: Sequence[int], activate: bool = False) -> None:
        super().__init__()
        self.activate = activate
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(1, c, 3, 3)) for c in channels)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in channels)

    def forward(self, feature: Tensor, index: int) -> Tensor:
        """[B, C, h, h] of tap `index` -> logits [B, 1, h, h]."""
        weight = self.weights[index]
        logits = F.conv2d(feature, weight / math.sqrt(weight[0].numel()), self.biases[index], padding=1)
        return F.leaky_relu(logits, 0.2) * math.sqrt(2) if self.activate else logits
