"""What the four networks of StarGAN v2 are made of, and how it is read from their weights."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from torch import Tensor

from models.files import WeightsError

PUBLISHED_BASE, PUBLISHED_WIDEST = 16384, 512
TRUNKS = {"style_encoder": "shared", "discriminator": "main"}

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """The sizes from which every network is built (Choi et al. 2020; defaults as released).

    size: side of the picture in pixels, a power of two from 32 to 1024. domains: how many there are.
    style_dim, latent_dim, hidden_dim: lengths of s, of z, and of the mapping network's layers.
    base: the first width is base / size; each halving of the side doubles it, up to `widest`.
    high_pass: 0, or what the kernel of the high-pass skip is divided by (a larger value is a weaker skip).
    """

    size: int
    domains: int
    style_dim: int = 64
    latent_dim: int = 16
    hidden_dim: int = 512
    base: int = PUBLISHED_BASE
    widest: int = PUBLISHED_WIDEST
    high_pass: float = 0.0

    def __post_init__(self) -> None:
        if self.size not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(f"size {self.size}: expected a power of two from 32 to 1024")
        if min(self.domains, self.style_dim, self.latent_dim, self.hidden_dim, self.widest) < 1:
            raise ValueError("domains, style_dim, latent_dim, hidden_dim and widest must be at least 1")
        if self.base < self.size or self.base % self.size:
            raise ValueError(f"base {self.base}: expected a multiple of size {self.size}")
        if self.first > self.widest:
            raise ValueError(
                f"base {self.base} makes the first width {self.first}, more than widest {self.widest}"
            )
        if not (math.isfinite(self.high_pass) and self.high_pass >= 0):
            raise ValueError(f"high_pass {self.high_pass}: expected 0 (off) or a positive number")

    @property
    def first(self) -> int:
        """Width at the full side."""
        return self.base // self.size

    @property
    def downs(self) -> int:
        """How often the generator halves the side: down to 16, and to 8 with the high-pass skip."""
        return self.size.bit_length() - 5 + (self.high_pass > 0)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Widths of the generator at size, size / 2, ..., its smallest side."""
        return self._widths(self.downs)

    @property
    def trunk_widths(self) -> tuple[int, ...]:
        """Widths of style encoder and discriminator at size, size / 2, ..., 4."""
        return self._widths(self.size.bit_length() - 3)

    def _widths(self, halvings: int) -> tuple[int, ...]:
        return tuple(min(self.first << i, self.widest) for i in range(halvings + 1))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        whole = {name: int(value) for name, value in values.items() if name != "high_pass"}
        return cls(**whole, high_pass=float(values.get("high_pass", 0.0)))


def bare(state: StateDict) -> dict[str, Tensor]:
    """Without the `module.` that a data-parallel shell puts before every name."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def layout_of(nets: Mapping[str, StateDict]) -> Layout:
    """The layout of state dicts under the published names (generator, mapping_network, style_encoder, discriminator).

    A generator and one network with heads are needed. A high-pass generator whose file lacks `hpf.filter` is taken
    to have the released strength 1. Where the widths never reach `widest`, it is the published one.
    Raises WeightsError.
    """
    nets = {name: bare(state) for name, state in nets.items()}
    first = _length(nets, "generator", "from_rgb.weight", 0)
    blocks = numbered(nets["generator"], r"encode\.(\d+)\.")
    size = _size(nets, blocks, first)
    mapped = "mapping_network" in nets
    values = {
        "size": size,
        "domains": _domains(nets),
        "style_dim": _length(nets, "generator", "decode.0.norm1.fc.weight", 1),
        "latent_dim": _length(nets, "mapping_network", "shared.0.weight", 1) if mapped else 16,
        "hidden_dim": _length(nets, "mapping_network", "shared.0.weight", 0) if mapped else 512,
        "base": first * size,
        "widest": _widest(nets, first),
        "high_pass": _high_pass(nets["generator"], blocks, size),
    }
    try:
        return Layout.from_dict(values)
    except ValueError as error:
        raise WeightsError(f"these are no weights of StarGAN v2: {error}") from error


def _length(nets: Mapping[str, StateDict], name: str, key: str, axis: int) -> int:
    """Entries of a tensor along an axis."""
    if name not in nets:
        raise WeightsError(f"the weights hold {sorted(nets)}, but no {name}")
    if key not in nets[name]:
        raise WeightsError(f"{name}: tensor {key} is missing; StarGAN v2 has it in every layout")
    shape = nets[name][key].shape
    if axis >= len(shape):
        raise WeightsError(f"{name}: tensor {key} is {list(shape)}; expected at least {axis + 1} dimensions")
    return int(shape[axis])


def numbered(state: StateDict, pattern: str) -> int:
    """How many different indices stand in the first group of `pattern` at the beginning of names."""
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _trunk_blocks(nets: Mapping[str, StateDict]) -> int | None:
    """log2(size) - 2, from the first network that has a trunk."""
    for name, stem in TRUNKS.items():
        if name in nets:
            return numbered(nets[name], rf"{stem}\.(\d+)\.conv1\.")
    return None


def _size(nets: Mapping[str, StateDict], blocks: int, first: int) -> int:
    """From the trunk. A lone generator of `blocks` is 4 << blocks without and 2 << blocks with the high-pass skip."""
    trunk = _trunk_blocks(nets)
    if trunk is not None:
        return 4 << trunk
    if "hpf.filter" in nets["generator"]:
        return 2 << blocks
    published = PUBLISHED_BASE // max(first, 1)
    return published if published == 2 << blocks else 4 << blocks


def _high_pass(generator: StateDict, blocks: int, size: int) -> float:
    without = size.bit_length() - 3
    if blocks == without:
        return 0.0
    if blocks != without + 1:
        raise WeightsError(
            f"generator: encode has {blocks} blocks, but size: {size} makes it {without}, "
            f"or {without + 1} with high_pass"
        )
    kernel = generator.get("hpf.filter")
    if kernel is None or kernel.shape != (3, 3):
        return 1.0
    centre = float(kernel[1, 1])
    if not (math.isfinite(centre) and centre > 0):
        raise WeightsError(f"generator: tensor hpf.filter has {centre} at its centre; expected 8 / high_pass")
    return float(f"{8 / centre:.6g}")  # the file holds the quotient in single precision


def _domains(nets: Mapping[str, StateDict]) -> int:
    for name in ("mapping_network", "style_encoder"):
        if name in nets:
            return numbered(nets[name], r"unshared\.(\d+)\.")
    head = (_trunk_blocks(nets) or 0) + 4
    return _length(nets, "discriminator", f"main.{head}.weight", 0)


def _widest(nets: Mapping[str, StateDict], first: int) -> int:
    widths = [first]
    stems = {"generator": "encode", **TRUNKS}
    for name, stem in stems.items():
        widths += [
            int(value.shape[0])
            for key, value in nets.get(name, {}).items()
            if re.fullmatch(rf"{stem}\.\d+\.conv2\.weight", key) and value.ndim
        ]
    halvings = _trunk_blocks(nets)
    if halvings is None:
        halvings = sum(1 for key in nets["generator"] if re.fullmatch(r"decode\.\d+\.conv1\.weight", key)) - 2
    capped = max(widths) < first << max(0, halvings)
    return max(widths) if capped else max(PUBLISHED_WIDEST, max(widths))
