"""Pictures through a translator, one file for each source, target and code: SOURCE--DOMAIN-CODE.png.

b pictures at once, H W pixels.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cluster.engine import pick_device
from pipeline.conditional_model import ClassModel
from pipeline.data.held import broken_notes, conversion_notes
from pipeline.data.samples import Broken, reason_of
from pipeline.data.shipped import DOMAIN_SETS
from pipeline.data.singles import Single, fit_for_files, singles
from pipeline.drawing import Work
from pipeline.errors import INPUT, GraftError
from pipeline.guides import Guide, latent_guides, reference_guides
from pipeline.pictures import as_bytes
from pipeline.translation_sheets import FRAMES, WHITE, Shown, write_animation, write_grid
from pipeline.translator import AnyTranslator

AT_ONCE = 8
COUNT = 4  # random styles of each target, where nothing else is asked for
OF_EACH = 8  # pictures of each domain of a shipped set, where nothing is named


@dataclass
class Reading:
    """Sources of a translation, decoded as they are needed; the broken ones are passed over, and named."""

    found: Sequence[Single]
    size: int
    fit: str
    conversions: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)

    def batches(self) -> Iterator[tuple[list[Single], Tensor]]:
        """Some of them and their pictures, uint8 [b, 3, H, W], in their order."""
        for first in range(0, len(self.found), AT_ONCE):
            whole, pictures = [], []
            for one in self.found[first : first + AT_ONCE]:
                try:
                    picture, changes = one.picture(self.size, self.fit)
                except GraftError as error:
                    self.broken.append(Broken(one.entry.called, reason_of(error, one.entry.called)))
                    continue
                self.conversions.update(change.split(" from ")[0] for change in changes)
                whole.append(one)
                pictures.append(picture)
            if pictures:
                yield whole, torch.stack(pictures)

    def notes(self) -> list[str]:
        """What was changed to be read, and what could not be."""
        return conversion_notes(self.conversions) + broken_notes(self.broken)


def of_pictures(model: AnyTranslator, given: Namespace) -> Work:
    """Every picture in every style that is asked for. GraftError says what is missing."""
    model.to(pick_device(given.device))
    every, where, said = sources_of(model, given.pictures)
    guides = guides_of(model, given)
    found, guides, more = meeting(model, every, guides, where)
    count = given.count or (COUNT if given.references is None else None)
    drawn = [one for own in guides.values() for one in own[:count]]
    domains = fit_for_files(list(model.names))
    to = [model.names[target] for target in guides]
    endings = [f"{domains[one.target]}-{one.called}.png" for one in drawn]
    going = list(zip(drawn, endings, strict=True))
    films = {
        f"interpolation-{domains[target]}.gif": own[: given.interpolate]
        for target, own in guides.items()
        if given.interpolate
    }
    names = [
        f"{one.name}--{ending}" for one in found for guide, ending in going if takes(model, one, guide.target)
    ]
    names += ["grid.png"] * given.grid + list(films)

    def draw(out: Path) -> list[str]:
        reading = Reading(found, model.size, given.fit)
        shown = translate(model, reading, going, out)
        each = f"{shown.files // shown.count} files of each" if shown.files % shown.count == 0 else "files"
        files = f"{each}, SOURCE--DOMAIN-CODE.png ({shown.files} in all)"
        lines = [f"pictures   {out}: {shown.count} translated to {', '.join(to)}; {files}"]
        lines += [f"note       {note}" for note in [*said, *more, *reading.notes()]]
        if given.grid:
            lines.append(write_grid(out / "grid.png", shown, drawn))
        frames = given.frames or FRAMES
        return lines + [write_animation(out / name, model, shown, own, frames) for name, own in films.items()]

    about = {"pictures": where, "references": given.references, "to": to, "count": count, "fit": given.fit}
    return Work(names, draw, about)


def guides_of(model: AnyTranslator, given: Namespace) -> dict[int, list[Guide]]:
    """The guides of each target that is asked for, in the order of --to; enough of them for --interpolate."""
    chosen = targets_of(model, given.to)
    targets = list(range(len(model.names))) if chosen is None else chosen
    if given.references is None:
        found = latent_guides(
            model, targets, max(given.count or COUNT, given.interpolate), given.seed, given.psi
        )
    else:
        most = None if given.count is None else max(given.count, given.interpolate)
        found = reference_guides(model, given.references, chosen, most, given.fit, given.psi)
    by_target = {target: [one for one in found if one.target == target] for target in targets}
    by_target = {target: own for target, own in by_target.items() if own}
    for target, own in by_target.items():
        if len(own) < given.interpolate:
            raise GraftError(
                f"--interpolate {given.interpolate} asks for as many references of {model.names[target]}, and "
                f"{given.references} has {len(own)}"
            )
    return by_target


def takes(model: AnyTranslator, source: Single, target: int) -> bool:
    """Whether a picture is translated to a target: not by every model to the domain that it is of already."""
    return model.within or source.domain != model.names[target]


def meeting(
    model: AnyTranslator, found: Sequence[Single], guides: dict[int, list[Guide]], where: str
) -> tuple[list[Single], dict[int, list[Guide]], list[str]]:
    """The sources that go to some target, the guides of targets that some source goes to, and what to say.

    GraftError (exit code 3) where no source goes anywhere.
    """
    some, out = [], Counter[str]()
    for one in found:
        if any(takes(model, one, target) for target in guides):
            some.append(one)
        else:
            out[str(one.domain)] += 1
    if not some:
        own = ", ".join(model.names[target] for target in guides)
        raise GraftError(
            f"{where}: all of its pictures are of {own} already, to which they were to go", INPUT
        )
    left = {target: own for target, own in guides.items() if any(takes(model, one, target) for one in some)}
    said = [f"{count} pictures of {name} left out: they are of it already" for name, count in out.items()]
    return some, left, said


def targets_of(model: AnyTranslator | ClassModel, to: str | None) -> list[int] | None:
    """The labels that --to names, in its order; None where it names none."""
    if to is None:
        return None
    words = [to] if to in model.names else [word.strip() for word in to.split(",")]
    return list(dict.fromkeys(model.label(word) for word in words))


def sources_of(model: AnyTranslator, where: str | None) -> tuple[list[Single], str, list[str]]:
    """What is to be translated, where it is from, and what to say of that. Domains take turns.

    Without a name: some held-out pictures of the shipped set that the model was trained on.
    """
    if where is not None:
        return in_turns(singles(where)), where, []
    known = str(model.about.get("train", ""))
    if known not in DOMAIN_SETS:
        raise GraftError(
            f"{model.title}: name what it is to translate with --pictures (a folder, archive, shards, shipped set)"
        )
    every = singles(known)
    found = in_turns([one for one in every if one.domain in model.names] or every)
    domains = len({one.domain for one in found})
    said = f"{OF_EACH} held-out pictures of each domain of {known}; --pictures names others"
    return found[: OF_EACH * domains], known, [said]


def in_turns(found: Sequence[Single]) -> list[Single]:
    """The first picture of every domain, then the second of every one, and so on: a grid shows the first few."""
    seen: Counter[str | None] = Counter()
    turns = []
    for one in found:
        turns.append(seen[one.domain])
        seen[one.domain] += 1
    order = sorted(range(len(found)), key=lambda index: turns[index])
    return [found[index] for index in order]


def translate(
    model: AnyTranslator, reading: Reading, guides: Sequence[tuple[Guide, str]], out: Path
) -> Shown:
    """Write SOURCE--ENDING of every source and guide; a source is encoded once. Returns what a grid shows.

    GraftError (exit code 3) where no source can be read.
    """
    shown = Shown()
    for some, pictures in reading.batches():
        encoded = model.encode(pictures.to(model.device).float() / 127.5 - 1)
        row = []
        for guide, ending in guides:
            drawn = as_bytes(model.decode(encoded, guide.style.expand(len(some), -1)))
            for index, one in enumerate(some):
                if takes(model, one, guide.target):
                    picture = drawn[index].permute(1, 2, 0).contiguous().numpy()
                    Image.fromarray(picture).save(out / f"{one.name}--{ending}")
                    shown.files += 1
                else:
                    drawn[index] = WHITE
            row.append(drawn)
        shown.add(some, pictures, row)
    if not shown.count:
        first = reading.broken[0]
        raise GraftError(f"{first.called}: {first.reason}; no other picture could be read either", INPUT)
    return shown
