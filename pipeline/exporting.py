"""Models as folders that others can use: model.safetensors, config.json, MODEL_CARD.md, grid.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from models.files import write_tensors, write_whole
from pipeline.pictures import write_rows
from pipeline.store import write_json

Sheet = tuple[list[Tensor], list[str] | None]
HIDDEN = ("scores", "name", "kind", "network", "credits")


class Exportable(Protocol):
    """A model that can be written: what it is, its tensors, and pictures of it."""

    kind: ClassVar[str]
    about: dict[str, Any]
    folder: Path
    sha256: str

    @property
    def title(self) -> str:
        """What it is, in a few words: `StyleGAN2 at 64 px`."""
        ...

    def network(self) -> dict[str, Any]:
        """The sizes from which its networks are built."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it needs to be read back."""
        ...

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        ...

    def sheet(self) -> Sheet:
        """Rows of pictures [N, 3, H, W] in [-1, 1] for its grid, and their labels."""
        ...


def save_model(model: Exportable, folder: Path) -> None:
    """Write weights and card values of `model` into `folder`; grid and text are the caller's."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", model.tensors())
    write_json(folder / "config.json", {"kind": model.kind, "network": model.network(), **model.about})


def write_export(model: Exportable, out: Path, sheet: Sheet | None = None) -> Path:
    """Weights, config, card and grid of a model into `out`; `sheet` where the grid shows more than the model."""
    save_model(model, out)
    rows, labels = sheet or model.sheet()
    write_rows(out / "grid.png", rows, labels, scale=2)
    write_whole(out / "MODEL_CARD.md", card_of(model).encode())
    return out


def card_of(model: Exportable) -> str:
    """MODEL_CARD.md: what it is, how it was made, how good it is, how to use it."""
    about = model.about
    lines = [f"# {about.get('name', 'model')}", "", f"{model.title}, made with Graft.", ""]
    lines += [
        f"- {key.replace('_', ' ')}: {_plain(each)}" for key, each in about.items() if key not in HIDDEN
    ]
    lines += [*(f"- {fact}" for fact in model.facts()), ""]
    scores: list[Mapping[str, Any]] = about.get("scores") or []
    if scores:
        lines += ["| metric | value | interval | n | network |", "|---|---|---|---|---|"]
        for score in scores:
            interval = "" if score["low"] is None else f"{score['low']:.4g} to {score['high']:.4g}"
            value = "none" if score["value"] is None else f"{score['value']:.4g}"
            lines.append(f"| {score['name']} | {value} | {interval} | {score['n']} | {score['network']} |")
        lines.append("")
    lines += ["Use: `graft sample FOLDER --out pictures`", ""]
    if about.get("credits"):
        lines += [f"Credits: {about['credits']}", ""]
    return "\n".join(lines)


def _plain(entry: Any) -> str:
    return ", ".join(map(str, entry)) if isinstance(entry, list) else str(entry)
