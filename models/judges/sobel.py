"""The edge operator that needs no weights: Sobel's gradient of the smoothed luminance.

B batch, H W pixels. Pictures are float [-1, 1], RGB, NCHW.
"""

import torch
from torch import Tensor
from torch.nn import functional

NAME = "sobel"
# Rec. 601 luma of red, green, blue.
LUMA = (0.299, 0.587, 0.114)
# A luminance step of this height (of 1, black to white) gives an edge of 1/2. Graft's own choice: low enough
# that the faint borders of flat drawings count, high enough that the last bits of a generator's noise do not.
HALF = 0.08


class Sobel:
    """Strength g^2 / (g^2 + HALF^2); g is the gradient's length, in heights of a step."""

    name = NAME
    sha256 = ""

    @torch.no_grad()
    def map(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> edge strength [B, 1, H, W] in [0, 1); borders are replicated."""
        luma = pictures.new_tensor(LUMA).view(1, 3, 1, 1)
        light = ((pictures + 1) / 2 * luma).sum(1, keepdim=True)
        # Two separable passes: [1 2 1] / 4 smooths, [-1 0 1] differs; both of them smoothed once more first.
        smooth = pictures.new_tensor((1.0, 2.0, 1.0)) / 4
        differ = pictures.new_tensor((-1.0, 0.0, 1.0))
        light = _along(_along(light, smooth, 2), smooth, 3)
        across = _along(_along(light, smooth, 2), differ, 3)
        down = _along(_along(light, smooth, 3), differ, 2)
        # After smoothing, the steepest central difference of a unit step is 3/4.
        strength = (across.square() + down.square()) / 0.75**2
        return strength / (strength + HALF**2)


def _along(x: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """[B, 1, H, W] filtered with three taps along axis 2 or 3; borders replicated, size kept."""
    pad, shape = ((0, 0, 1, 1), (1, 1, 3, 1)) if axis == 2 else ((1, 1, 0, 0), (1, 1, 1, 3))
    return functional.conv2d(functional.pad(x, pad, mode="replicate"), kernel.view(shape))
