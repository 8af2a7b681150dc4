"""`export`: a trained cell or source as a folder that others can use: weights, config, card, grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import arguments, run

if TYPE_CHECKING:
    import torch

    from pipeline.load import Model

EXAMPLE = "python -m pipeline.export runs/demo/rssa-lorelei-10-0-1a2b3c4d exports/mine"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("export", EXAMPLE)
    parser.add_argument("cell", type=Path, help="folder of a finished cell")
    parser.add_argument("out", type=Path, help="folder to write, which must not exist yet")
    given = parser.parse_args(argv)
    from pipeline.errors import GraftError

    if given.out.exists():
        raise GraftError(f"{given.out}: exists already; name another folder")
    print(export_cell(given.cell, given.out))
    return 0


def export_cell(cell: Path, out: Path) -> Path:
    """The model of a finished cell with its scores; the grid has the source's row above, same z."""
    from pipeline.errors import INPUT, GraftError
    from pipeline.load import load_model
    from pipeline.store import read_json

    if not (cell / "model" / "config.json").is_file():
        raise GraftError(f"{cell}: not a finished cell (it has no model/)", INPUT)
    model, result = load_model(str(cell / "model")), read_json(cell / "result.json")
    source = load_model(str(model.about["source"]))
    scores = [
        {key: s[key] for key in ("name", "value", "low", "high", "n", "network")} for s in result["scores"]
    ]
    model.about = {**model.about, "scores": scores}
    return write_export(model, out, source)


def write_export(model: "Model", out: Path, source: "Model | None" = None) -> Path:
    """Weights, config, card and grid of a model into `out`."""
    import torch

    from models.files import write_whole
    from pipeline.load import save_model
    from pipeline.pictures import write_rows

    save_model(model, out)
    if source is None:
        rows, labels = list(torch.split(model.draw(latents_of(model, 64)), 8)), None
    else:
        z = latents_of(model, 8)
        rows, labels = [source.draw(z), model.draw(z)], ["source", str(model.about.get("method", "adapted"))]
    write_rows(out / "grid.png", rows, labels, scale=2)
    write_whole(out / "MODEL_CARD.md", card_of(model).encode())
    return out


def latents_of(model: "Model", count: int) -> "torch.Tensor":
    """The z of the grid."""
    from pipeline.pictures import fixed_latents

    return fixed_latents(count, model.shape.style_dim).to(model.mean.device)


def card_of(model: "Model") -> str:
    """MODEL_CARD.md: what it is, how it was made, how good it is, how to use it."""
    about: dict[str, Any] = model.about
    scores = about.get("scores") or []
    lines = [
        f"# {about.get('name', 'model')}",
        "",
        f"StyleGAN2 at {model.shape.size} px, made with Graft.",
        "",
    ]
    hidden = ("scores", "name", "kind", "network", "credits")
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in about.items() if key not in hidden]
    widths = ", ".join(f"{side}: {width}" for side, width in sorted(model.shape.widths.items()))
    lines += [
        f"- channels by side: {widths}",
        f"- latent compression: {'yes' if model.projector else 'no'}",
        "",
    ]
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


if __name__ == "__main__":
    raise SystemExit(run(main))
