"""What guides a translation: styles of a target from latents, or from pictures of it.

K guides of a target, S style dimension, Z latent dimension, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.singles import Single, fit_for_files, singles
from pipeline.errors import INPUT, GraftError
from pipeline.judging.codes import keyed
from pipeline.translator import AnyTranslator

AT_ONCE = 16


@dataclass(frozen=True)
class Guide:
    """One style [S] of a target. called: its part of a file name; picture: uint8 [3, H, W] of a reference."""

    target: int
    called: str
    label: str
    style: Tensor
    picture: Tensor | None = None


def latents(seed: int, target: str, count: int, dim: int) -> Tensor:
    """z [K, Z]: each a function of (seed, target, k) alone, so the first of four is the first of ten."""
    drawn = [torch.randn(dim, generator=keyed("z", seed, target, k)) for k in range(count)]
    return torch.stack(drawn)


def latent_guides(
    model: AnyTranslator, targets: Sequence[int], count: int, seed: int, psi: float
) -> list[Guide]:
    """`count` random styles of each target."""
    found = []
    for target in targets:
        name = model.names[target]
        z = latents(seed, name, count, model.latent_dim).to(model.device)
        styles = model.latent_codes(z, target, psi)
        found += [Guide(target, f"{k:03d}", f"{name}, z {k + 1}", style) for k, style in enumerate(styles)]
    return found


def reference_guides(
    model: AnyTranslator, where: str, chosen: Sequence[int] | None, count: int | None, fit: str, psi: float
) -> list[Guide]:
    """The styles of the first `count` pictures (None: all) of each target.

    Pictures that name domains guide to theirs; others to the one target that is chosen (None: all are).
    GraftError where they cannot.
    """
    found = []
    for target, own in sorted(_by_target(model, where, chosen).items()):
        some = own[:count]
        pictures = torch.stack([one.picture(model.size, fit)[0] for one in some])
        parts = torch.split(pictures, AT_ONCE)
        seen = [model.reference_codes(part.to(model.device).float() / 127.5 - 1, target) for part in parts]
        styles = torch.cat(seen)
        styles = styles if psi == 1 else model.truncated(styles, target, psi)
        names = fit_for_files([one.name for one in some])
        found += [
            Guide(target, name, model.names[target], style, picture)
            for name, style, picture in zip(names, styles, pictures, strict=True)
        ]
    return found


def _by_target(model: AnyTranslator, where: str, chosen: Sequence[int] | None) -> dict[int, list[Single]]:
    found = singles(where)
    targets = range(len(model.names)) if chosen is None else chosen
    named: dict[int, list[Single]] = {}
    for one in found:
        if one.domain in model.names:
            named.setdefault(list(model.names).index(str(one.domain)), []).append(one)
    if not named:
        if len(targets) != 1:
            raise GraftError(
                f"{where}: its pictures name no domain of this model, so they guide to one target; name it with "
                f"--to ({', '.join(model.names)}), or lay them in sub-folders of these names"
            )
        return {targets[0]: found}
    lacking = [] if chosen is None else [model.names[target] for target in chosen if target not in named]
    if lacking:
        raise GraftError(f"{where}: no picture of {lacking[0]} in it, to which --to asks to translate", INPUT)
    return {target: own for target, own in named.items() if target in targets}
