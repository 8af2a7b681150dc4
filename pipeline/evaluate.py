"""`evaluate`: judge a checkpoint or an exported model, by the protocol of the tables."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "python -m pipeline.evaluate personas_64 --heldout personas judge.n=250"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("evaluate", EXAMPLE)
    parser.add_argument("model", help="an exported model, a shipped one, or the folder of a cell or run")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="judge.n=250, translate.protocol=stargan2, ..."
    )
    parser.add_argument("--target", help="what it was adapted to (default: what its card says)")
    parser.add_argument("--source", help="what it was adapted from (default: what its card says)")
    parser.add_argument("--shots", type=int, help="pictures of the target that were seen (default: its card)")
    parser.add_argument(
        "--heldout",
        help="pictures to judge against; a shipped name means its held-out pictures "
        "(of a translator: one sub-folder a domain)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it, with protocol and hashes")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    given = parser.parse_intermixed_args(argv)
    from cluster.engine import pick_device
    from pipeline.evaluating import judged
    from pipeline.job import Evaluation
    from pipeline.judging.score import score_lines
    from pipeline.opening import open_any
    from pipeline.read import read_words
    from pipeline.store import write_json

    model = open_any(given.model)
    own = {key: getattr(given, key) for key in ("target", "source", "shots", "heldout")}
    card = {key: model.about[key] for key in ("target", "source", "shots") if key in model.about}
    values = card | {key: value for key, value in own.items() if value is not None}
    asked = read_words(values, given.overrides, Evaluation)
    against, judgement = judged(model, asked, given, pick_device(given.device))
    found = judgement.as_dict()
    print(f"{model.about.get('name', given.model)}, judged against {against}")
    print("\n".join(score_lines(found["scores"])))
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(given.json, {"model": given.model, "sha256": model.sha256, **asked.model_dump(), **found})
        print(f"  all of it  {given.json}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
