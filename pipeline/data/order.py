"""Seeded orders that depend on nothing but their numbers: no generator state, no library version."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_STEP = 0x9E3779B97F4A7C15


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014), elementwise: each input bit moves all output bits."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(_STEP)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def number(*parts: int) -> int:
    """One 64 bit number from several, such as (seed, epoch)."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mixed(state ^ np.array([part & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
    return int(state[0])


def named(text: str) -> int:
    """One 64 bit number for a name, such as that of a stream."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def permutation(count: int, *parts: int) -> NDArray[np.int64]:
    """A permutation of 0 .. count-1, a pure function of (count, parts): indices sorted by their own hash."""
    hashes = mixed(np.arange(count, dtype=np.uint64) ^ np.uint64(number(*parts)))
    return np.argsort(hashes, kind="stable").astype(np.int64)
