"""StarGAN v2's iteration against its released form: `python -m benchmarks.stargan2_step [--out FILE.jsonl]`.

The networks of configs/pretrain_stargan2_avatars.yaml, batch 8, three domains, random pictures; ds pulls. The released
form is `benchmarks.literal.stargan2`, given the same draws. Before anything is timed, one iteration of both is compared
in float64. `unfolded` is ours with pooling and upsampling left out of the convolutions.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks import timing
from benchmarks.literal.stargan2 import LiteralStarGAN2
from benchmarks.timing import interleaved, line
from cluster.engine import Engine, PlainEngine
from pipeline.data.domains import Domains
from pipeline.data.held import Held
from pipeline.draws import Change, Draws
from pipeline.families import FAMILIES, Opened
from pipeline.job import Pretrain
from pipeline.read import read
from pipeline.trainer import Trainer

CPU = torch.device("cpu")
CONFIG = timing.ROOT / "configs/pretrain_stargan2_avatars.yaml"
FORMS = ("ours", "unfolded", "literal")


def asked() -> Pretrain:
    """The committed config's networks and batch, with the published optimisers."""
    return read(CONFIG, [], Pretrain).model_copy(update={"settings": {}})


def our_trainer(folded: bool = True, engine: Engine | None = None) -> Trainer:
    """Our step over random pictures of three domains, in torch's default type; of one rank or of several."""
    engine = engine or PlainEngine(CPU)
    job = asked()
    size = job.network_settings().size
    rng = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (3, 16, 3, size, size), generator=rng, dtype=torch.uint8)
    domains = Domains({f"domain {d}": Held(pictures[d], None, 0) for d in range(3)}, 0)
    method = job.entry.table(job.method_settings())
    nets = FAMILIES["stargan2"].nets(job, method, Opened(domains, None, 48), CPU)
    for module in (*nets.modules.values(), *nets.twins.values()):
        module.to(torch.get_default_dtype())
        for part in module.modules():
            if hasattr(part, "folded"):
                part.folded = folded
    place = {"rank": engine.rank, "world": engine.world, "gather": engine.gather}
    return Trainer(method, nets, Draws(0, job.batch, CPU, domains, Change(), **place), engine)


def literal_of(trainer: Trainer) -> LiteralStarGAN2:
    """The released iteration from the same parameters."""
    job = asked()
    sizes = job.network_settings().model_dump()
    size, high_pass = sizes.pop("size"), sizes.pop("high_pass")
    found = LiteralStarGAN2(size, 3, high_pass=high_pass, **sizes).to(torch.get_default_dtype())
    for name, network in found.networks.items():
        network.load_state_dict(trainer.nets.modules[name].state_dict())
    return found


def literal_step(literal: LiteralStarGAN2, draws: Draws, step: int, dim: int) -> dict[str, Any]:
    """One released iteration with the draws that ours would take."""
    now = draws.at(step, "any")
    (x, y), (references, target) = now.labelled("x", True), now.labelled("reference", True)
    partners = now.partners("reference", True, False)
    z, z2 = now.common().normal("z", dim), now.common().normal("z2", dim)
    return literal.step(x, y, references, partners, target, z, z2)


def runs() -> dict[str, Callable[[int], object]]:
    """One iteration of every form, told the number of the turn."""
    ours, unfolded = our_trainer(), our_trainer(folded=False)
    literal, dim = literal_of(ours), asked().network_settings().latent_dim
    return {
        "ours": lambda turn: ours.step(),
        "unfolded": lambda turn: unfolded.step(),
        "literal": lambda turn: literal_step(literal, ours.draws, turn, dim),
    }


def checked() -> float:
    """Largest difference of a logged term and of a parameter after one iteration of both, in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        ours = our_trainer()
        literal, weights = literal_of(ours), ours.method
        literal.diversity = weights.phases[2].terms[3].weight_at(0)
        literal_step(literal, ours.draws, 0, asked().network_settings().latent_dim)
        ours.step()
        return max(
            float((ours.nets.modules[name].state_dict()[key] - value).abs().max())
            for name, network in literal.networks.items()
            for key, value in network.state_dict().items()
        )
    finally:
        torch.set_default_dtype(before)


def peaks() -> list[dict[str, Any]]:
    """Peak resident size of a fresh process each."""
    lines = []
    for form in FORMS:
        words = [sys.executable, "-m", "benchmarks.stargan2_step", "--peak", form]
        done = subprocess.run(words, cwd=timing.ROOT, capture_output=True, text=True, check=True)
        lines.append(
            {"what": "stargan2: peak resident size", "form": form, "mb": round(float(done.stdout)), "n": 1}
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.arguments("stargan2_step", (__doc__ or "").splitlines()[0])
    parser.add_argument("--peak", choices=FORMS, help="print the peak memory of one form and stop")
    given = parser.parse_args(argv)
    if given.peak:
        run = runs()[given.peak]
        for turn in range(2):
            run(turn)
        print(timing.peak_mb())
        return 0
    error = checked()
    print(f"parameters agree to {error:.0e} after an iteration in float64")
    job = asked()
    about = {"shapes": {**job.network, "batch": job.batch, "domains": 3}, "method": "stargan2"}
    found = interleaved(runs(), given.pairs)
    lines = [
        line(
            form,
            times,
            None if form == "ours" else found["ours"],
            what="stargan2: one iteration",
            error=error,
            **about,
        )
        for form, times in found.items()
    ]
    print(timing.shown(lines))
    sizes = peaks()
    for one in sizes:
        print(f"peak resident size, {one['form']}: {one['mb']} MB")
    timing.write(lines + sizes, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
