"""The one to ten pictures a source model is adapted to."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data.held import Held, stray_notes
from pipeline.data.listing import Entry, entries, list_files
from pipeline.data.manifest import shards_of
from pipeline.data.order import permutation
from pipeline.data.pictures import open_picture
from pipeline.data.samples import fields_of
from pipeline.data.shipped import plain_place_of
from pipeline.errors import INPUT, GraftError


def few_shots(where: str | Path, shots: int, seed: int, size: int, fit: str = "refuse") -> Held:
    """`shots` different pictures of a folder, an archive, a folder of shards, or a shipped target.

    The pictures are sorted by name. As many as asked: all of them, in that order. More: the first `shots`
    of a permutation that is a function of (seed, number of pictures) alone, put back in sorted order; so
    with one seed the five are among the ten. A picture equal to one already chosen, pixel by pixel, is left
    out, with a note. Held-out shards are never drawn from. Raises GraftError: exit code 2 for shots < 1, 3
    for pictures that are broken, of another size with fit="refuse", or too few.
    """
    if shots < 1:
        raise GraftError(f"shots={shots}: must be at least 1")
    found, stray = _candidates(plain_place_of(where))
    if len(found) < shots:
        raise GraftError(f"{where}: {len(found)} pictures, but shots={shots} asks for more", INPUT)
    order = range(shots) if len(found) == shots else permutation(len(found), seed).tolist()
    chosen: dict[int, Tensor] = {}
    seen: dict[str, str] = {}
    notes = stray_notes(stray)
    for index in order:
        entry = found[index]
        picture, changes = open_picture(entry.sample().picture, entry.called, size, fit)
        pixels = hashlib.sha256(picture.numpy().tobytes()).hexdigest()
        if pixels in seen:
            notes.append(f"{entry.called}: the same picture as {seen[pixels]}, left out")
            continue
        seen[pixels] = entry.name
        chosen[index] = picture
        notes += [f"{entry.called}: {change}" for change in changes]
        if len(chosen) == shots:
            break
    if len(chosen) < shots:
        raise GraftError(
            f"{where}: {len(chosen)} different pictures among {len(found)}, but shots={shots} asks for more "
            f"({notes[-1]})",
            INPUT,
        )
    kept = sorted(chosen)
    fields = [fields_of(found[index].sample()) for index in kept]
    names = [found[index].name for index in kept]
    return Held(torch.stack([chosen[index] for index in kept]), fields, seed, names, notes)


def _candidates(path: Path) -> tuple[list[Entry], list[str]]:
    """Every picture that may be chosen, sorted by key, and the files that are none."""
    listing = [] if path.is_file() else [list_files(path)]
    if listing and listing[0].pictures:
        return entries(listing), list(listing[0].stray)
    archives = [path] if path.is_file() else [shard for shard, _ in shards_of(path)]
    listings = [list_files(archive) for archive in archives]
    return entries(listings), [name for one in listings for name in one.stray]
