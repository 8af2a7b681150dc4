"""What is known of a picture (glasses, skin, ...) as labels that a classifier can learn.

n pictures of a domain. -1 is unknown: such a picture is left out of whatever asks for the factor.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import INPUT, GraftError

UNKNOWN = -1
YES_NO = ("no", "yes")
SKIN = ("dark", "medium", "light")
HAIR = ("black", "brown", "fair", "grey", "dyed")
HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Factor:
    """values: names of the classes. labels: domain -> int64 [n], in the order of its pictures."""

    values: tuple[str, ...]
    labels: Mapping[str, Tensor]

    def known(self, domain: str) -> bool:
        """Whether any picture of the domain has this factor."""
        return domain in self.labels and bool((self.labels[domain] != UNKNOWN).any())


def factors_of(common: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, Factor]:
    """domain -> attributes of each picture (true or false, a colour, or null) -> every factor that is known.

    An attribute that is absent is unknown, as null is; one unknown everywhere is no factor.
    Raises GraftError for a value that is none of these.
    """
    names = dict.fromkeys(name for rows in common.values() for row in rows for name in row)
    found = {}
    for name in names:
        seen = [row.get(name) for rows in common.values() for row in rows]
        values = values_of(name, seen)
        if values:
            labels = {
                domain: torch.tensor([label_of(name, row.get(name), values) for row in rows])
                for domain, rows in common.items()
            }
            found[name] = Factor(values, labels)
    return found


def values_of(name: str, seen: Sequence[object]) -> tuple[str, ...]:
    """The classes of a factor, from all that was seen of it; none where all is unknown."""
    known = [value for value in seen if value is not None]
    if not known:
        return ()
    if all(isinstance(value, bool) for value in known):
        return YES_NO
    if all(isinstance(value, str) and HEX.fullmatch(value) for value in known):
        return SKIN if "skin" in name else HAIR
    odd = next(value for value in known if not isinstance(value, bool))
    raise GraftError(f"factor {name}: {odd!r} is neither true, false, null nor a colour like #a1b2c3", INPUT)


def label_of(name: str, value: object, values: tuple[str, ...]) -> int:
    """The class of one value, -1 for null."""
    if value is None:
        return UNKNOWN
    if values == YES_NO:
        return int(bool(value))
    return values.index(skin(str(value)) if values == SKIN else hair(str(value)))


def skin(colour: str) -> str:
    """By CIELAB lightness: dark under 40, medium under 70, light from there. Graft's own rule."""
    lightness, _, _ = lab(colour)
    return SKIN[0] if lightness < 40 else SKIN[1] if lightness < 70 else SKIN[2]


def hair(colour: str) -> str:
    """By CIELAB lightness L, chroma C and hue h in degrees; the first that fits. Graft's own rule.

    black: L < 15. grey, white too: C < 12. Hues that hair has, 35 <= h <= 100: brown under L = 60, red among
    it, fair from there. dyed: all others.
    """
    lightness, a, b = lab(colour)
    chroma, hue = math.hypot(a, b), math.degrees(math.atan2(b, a)) % 360
    if lightness < 15:
        return "black"
    if chroma < 12:
        return "grey"
    if 35 <= hue <= 100:
        return "brown" if lightness < 60 else "fair"
    return "dyed"


def lab(colour: str) -> tuple[float, float, float]:
    """#rrggbb of sRGB as CIELAB (L, a, b), white point D65."""
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    x = _root((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505)
    y = _root(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    z = _root((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.0890)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _linear(part: float) -> float:
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)


def _root(share: float) -> float:
    return float(share ** (1 / 3) if share > (6 / 29) ** 3 else share / (3 * (6 / 29) ** 2) + 4 / 29)
