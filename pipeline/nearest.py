"""The known name nearest to a mistyped one."""

from collections.abc import Iterable
from difflib import SequenceMatcher

ALIKE = 0.6  # difflib's own cutoff: one slip in a word of four letters still counts
ELSEWHERE = 0.8  # the same last part in another section is a weaker hint than the whole name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None where nothing is like it.

    Dotted names are compared without the sections they share; `distnace` alone finds `weights.distance`.
    """
    scored = [(likeness(name, each), each) for each in dict.fromkeys(known)]
    score, best = max(scored, default=(0.0, ""), key=lambda each: each[0])
    return best if score >= ALIKE else None


def likeness(name: str, other: str) -> float:
    """0 (nothing in common) to 1 (the same, but for upper and lower case)."""
    mine, theirs = name.lower().split("."), other.lower().split(".")
    while len(mine) > 1 and len(theirs) > 1 and mine[0] == theirs[0]:
        mine, theirs = mine[1:], theirs[1:]
    whole = SequenceMatcher(None, ".".join(mine), ".".join(theirs)).ratio()
    return max(whole, ELSEWHERE * SequenceMatcher(None, mine[-1], theirs[-1]).ratio())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest known name, else some known names, else nothing."""
    names = list(dict.fromkeys(known))
    found = nearest(name, names)
    if found is not None:
        return f"; did you mean '{found}'?"
    if not names:
        return ""
    return f"; known are: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")
