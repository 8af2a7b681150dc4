"""`evaluate`: judge a checkpoint or an exported model, by the protocol of the tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import arguments, run

if TYPE_CHECKING:
    import torch

    from pipeline.job import Evaluation
    from pipeline.judging import Judgement
    from pipeline.load import Model

EXAMPLE = "python -m pipeline.evaluate personas_64 --heldout personas judge.n=250"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("evaluate", EXAMPLE)
    parser.add_argument("model", help="an exported model, a shipped one, or the folder of a cell")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="judge.n=250, data.fit=crop, ...")
    parser.add_argument("--target", help="what it was adapted to (default: what its card says)")
    parser.add_argument("--source", help="what it was adapted from (default: what its card says)")
    parser.add_argument("--shots", type=int, help="pictures of the target that were seen (default: its card)")
    parser.add_argument(
        "--heldout", help="pictures to judge against; a shipped name means its held-out pictures"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, with protocol and hashes")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    given = parser.parse_intermixed_args(argv)
    from cluster.engine import pick_device
    from pipeline.job import Evaluation
    from pipeline.judging.score import score_lines
    from pipeline.opening import open_model
    from pipeline.read import read_words
    from pipeline.store import write_json

    model = open_model(given.model)
    own = {key: getattr(given, key) for key in ("target", "source", "shots", "heldout")}
    card = {key: model.about[key] for key in ("target", "source", "shots") if key in model.about}
    values = card | {key: value for key, value in own.items() if value is not None}
    asked = read_words(values, given.overrides, Evaluation)
    device = pick_device(given.device)
    alone = not asked.target
    judged = _alone(model, asked, device) if alone else _beside_source(model, asked, given.source, device)
    against = "its domain" if alone else f"{asked.target}, {asked.shots} shots"
    found = judged.as_dict()
    print(
        "\n".join(
            [
                f"{model.about.get('name', given.model)}, judged against {against}",
                *score_lines(found["scores"]),
            ]
        )
    )
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.json, {"model": given.model, "sha256": model.sha256, **asked.model_dump(), **found})
        print(f"  all of it  {given.json}")
    return 0


def _beside_source(
    model: "Model", asked: "Evaluation", own: str | None, device: "torch.device"
) -> "Judgement":
    """An adapted model: every metric, beside its source, as its cell was judged."""
    from pipeline.cell import judged_beside_source
    from pipeline.inputs import judging_inputs
    from pipeline.opening import source_of

    source = source_of(model, own)
    inputs = judging_inputs(asked.model_copy(update={"source": str(source.folder)}), 0, device)
    return judged_beside_source(model.to(device).draw, inputs, asked.judge, device)


def _alone(model: "Model", asked: "Evaluation", device: "torch.device") -> "Judgement":
    """A source model: its distance to held-out pictures of its domain."""
    from pipeline.errors import GraftError
    from pipeline.inputs import eyes, heldout_pictures
    from pipeline.judging.alone import judge_alone

    size, domain = model.shape.size, str(model.about.get("train", ""))
    heldout = heldout_pictures(asked.heldout, domain, size, asked.data.fit, asked.judge_few)
    if heldout is None:
        raise GraftError(
            f"{model.about.get('name', 'this model')}: nothing to judge it against; pass --heldout for a source "
            "model (--heldout personas), or --target for an adapted one"
        )
    eye, _ = eyes(asked.judge_weights, device)
    return judge_alone(model.to(device).draw, heldout, asked.judge, eye, model.shape.style_dim, device)


if __name__ == "__main__":
    raise SystemExit(run(main))
