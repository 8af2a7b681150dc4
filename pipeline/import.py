"""`import`: weights that other programs wrote, as a model that every verb takes."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "graft import 100000_nets_ema.ckpt exports/afhq --domains cat,dog,wild"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("import", EXAMPLE)
    parser.add_argument(
        "file", type=Path, help="StarGAN v2: *_nets_ema.ckpt or *_nets.ckpt of the release, or .safetensors"
    )
    parser.add_argument("out", type=Path, help="folder to write, which must not exist yet")
    parser.add_argument(
        "--domains", metavar="A,B,...", help="names in the order of the labels (default: domain0,domain1,...)"
    )
    parser.add_argument(
        "--fan", metavar="FILE", help="face alignment network for the high-pass skips, where FILE has none"
    )
    given = parser.parse_args(argv)
    from pipeline.errors import GraftError
    from pipeline.families.stargan2 import face_network
    from pipeline.importing import found_lines, read_released, write_imported

    if given.out.exists():
        raise GraftError(f"{given.out}: exists already; name another folder")
    names = None if given.domains is None else [name.strip() for name in given.domains.split(",")]
    fan = None if given.fan is None else face_network(given.fan)
    model = read_released(given.file, names, fan)
    where = write_imported(model, given.out)
    print("\n".join([f"{where}: {model.title}", *found_lines(model)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
