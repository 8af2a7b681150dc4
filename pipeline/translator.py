"""What `sample` asks of every model that redraws pictures, whatever its networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class AnyTranslator(Protocol):
    """A trained translator that came from a folder. `b` pictures, `S` length of a code, `Z` latent dimension.

    Meets judging's Translator and Exportable. within: whether it also redraws pictures as others of their own domain.
    """

    kind: ClassVar[str]
    within: ClassVar[bool]
    about: dict[str, Any]
    folder: Path
    sha256: str

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Its targets, in the order of their labels."""
        ...

    @property
    def size(self) -> int:
        """The side of its pictures, in pixels."""
        ...

    @property
    def latent_dim(self) -> int:
        """Z."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        ...

    def label(self, name: str) -> int:
        """The label of a target. GraftError names the targets there are."""
        ...

    def encode(self, pictures: Tensor) -> Any:
        """[b, 3, H, W] in [-1, 1] -> what `decode` takes; done once for any number of codes."""
        ...

    def latent_codes(self, z: Tensor, target: int, psi: float = 1.0) -> Tensor:
        """Codes [b, S] of latents [b, Z]; psi below 1 draws them to the mean of the target."""
        ...

    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        """Codes [b, S] of pictures [b, 3, H, W] in [-1, 1] that are of the target."""
        ...

    def truncated(self, codes: Tensor, target: int, psi: float) -> Tensor:
        """Codes [b, S] drawn to the mean of the target by psi."""
        ...

    def decode(self, source: Any, codes: Tensor) -> Tensor:
        """[b, 3, H, W], about [-1, 1], of what `encode` gave and codes [b, S]."""
        ...

    def to(self, device: torch.device) -> "AnyTranslator":
        """Move every part."""
        ...
