"""What a judge's eye and a judge's edge operator are, and what all of them share.

B batch, C channels, H W pixels, h w positions of a feature map, F features of a picture.
Pictures are float [-1, 1], RGB, NCHW.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from models.files.errors import WeightsError

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Seen:
    """What one pass of an eye over B pictures gives.

    features: [B, F]. taps: a few maps [B, C, h, w], each of unit length over C at every position.
    """

    features: Tensor
    taps: list[Tensor]


class Eye(Protocol):
    """A frozen feature network. `sha256` is that of the file its weights came from."""

    name: str
    sha256: str

    def see(self, pictures: Tensor) -> Seen:
        """Features and taps of pictures [B, 3, H, W] in [-1, 1], in one pass."""
        ...

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, F]."""
        ...

    def taps(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> maps [B, C, h, w], unit length over C."""
        ...


class Edges(Protocol):
    """A frozen edge operator. `sha256` is that of its weights' file, "" where it has none."""

    name: str
    sha256: str

    def map(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> edge strength [B, 1, H, W] in [0, 1]."""
        ...


def unit_channels(feature: Tensor) -> Tensor:
    """[B, C, h, w] divided by its length over C; eps 1e-10 beside the length, as in LPIPS."""
    return feature / (feature.square().sum(1, keepdim=True).sqrt() + 1e-10)


def resized(pictures: Tensor, side: int) -> Tensor:
    """[B, 3, H, W] -> [B, 3, side, side], bilinear with antialias; unchanged where the side is right."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return functional.interpolate(pictures, (side, side), mode="bilinear", antialias=True)


def loaded(network: N, tensors: Mapping[str, Tensor]) -> N:
    """The network with these weights (any float type, kept as float32), in eval mode, without gradients.

    `num_batches_tracked` may be absent: eval mode never reads it. Anything else that does not fit is refused.
    """
    own = network.state_dict()
    absent = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    wrong = absent + [key for key in tensors if key not in own or tensors[key].shape != own[key].shape]
    if wrong:
        raise WeightsError(
            f"{type(network).__name__}: these weights are of another network; "
            f"the first tensor that does not fit is {wrong[0]}"
        )
    own.update({key: value.to(own[key].dtype) for key, value in tensors.items()})
    network.load_state_dict(own)
    return network.eval().requires_grad_(False)
