"""The logistic adversarial losses of StyleGAN2, one pull each.

Logits: [B, 1] of an image head, or a map [B, 1, h, w] of a patch head. Every loss is the mean over the
batch and, for maps, over positions (Goodfellow et al. 2014 non-saturating; Karras et al. 2020 as released).
"""

from torch import Tensor
from torch.nn.functional import softplus


def real_logistic(logits: Tensor) -> Tensor:
    """What the discriminator pays on real pictures: mean log(1 + exp(-logits)). Scalar, >= 0."""
    return softplus(-logits).mean()


def fake_logistic(logits: Tensor) -> Tensor:
    """What the discriminator pays on drawn pictures: mean log(1 + exp(logits)). Scalar, >= 0."""
    return softplus(logits).mean()


def fool_logistic(logits: Tensor) -> Tensor:
    """What the generator pays on its own pictures: mean log(1 + exp(-logits)). Scalar, >= 0."""
    return softplus(-logits).mean()
