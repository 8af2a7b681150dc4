"""What a step that is not finite leaves of a network whose norms remember the batches that they have seen."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.conditional.dcgan import Generator
from pipeline.draws import StepDraws
from pipeline.trainer import Diverged, Trainer
from tests import miniature

BAD = 2  # the step that meets NaN
Changed = Callable[[Tensor], Tensor]


def one_bad(values: Tensor) -> Tensor:
    """NaN in the last sample alone."""
    return torch.cat([values[:-1], torch.full_like(values[-1:], torch.nan)])


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts NaN into the draws of one name: poison(METHOD OF StepDraws, NAME, *STEPS)."""

    def put(method: str, name: str, *steps: int) -> None:
        drawn = getattr(StepDraws, method)

        def changed(draws: StepDraws, asked: str, *more: object) -> object:
            found = drawn(draws, asked, *more)
            if asked != name or draws.step not in (steps or (BAD,)):
                return found
            return (one_bad(found[0]), found[1]) if isinstance(found, tuple) else one_bad(found)

        monkeypatch.setattr(StepDraws, method, changed)

    return put


def trained(**settings: object) -> Trainer:
    """A DCGAN at the step BAD."""
    run = miniature.trainer("dcgan", settings=settings)
    for _ in range(BAD):
        run.step()
    return run


def held(run: Trainer) -> dict[str, Tensor]:
    """Every parameter, buffer, moment and memory, copied."""
    return {key: value.clone() for key, value in run.nets.state().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def finite(run: Trainer) -> bool:
    return all(bool(value.isfinite().all()) for value in run.nets.state().values())


def remembered(state: dict[str, Tensor]) -> set[str]:
    """What the norms keep of their batches."""
    return {
        key for key in state if key.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")
    }


def drawn_by_running_statistics(run: Trainer) -> Tensor:
    """Pictures as the model that is judged and exported draws them."""
    generator = run.nets.of(Generator, "G").eval()
    with torch.no_grad():
        found: Tensor = generator(torch.zeros(2, generator.latent_dim), torch.tensor([0, 1]))
    generator.train()
    return found


def test_a_latent_that_is_not_finite_leaves_everything_as_it_was_and_the_next_step_goes_on(
    poison: Callable[..., None],
) -> None:
    run = trained()
    before, shown = held(run), drawn_by_running_statistics(run)
    assert remembered(before)
    poison("normal", "z")
    run.step()
    assert run.refused == {"D": 1, "G": 1}
    assert changed(before, run.nets.state()) == set()
    assert torch.equal(drawn_by_running_statistics(run), shown)
    run.step()
    assert not run.refused
    assert changed(before, run.nets.state()) >= remembered(before)
    assert finite(run)


def test_what_follows_a_refused_step_is_what_would_have_come_without_it(poison: Callable[..., None]) -> None:
    run, skipping = trained(), trained()
    poison("normal", "z")
    run.step()
    skipping.step_number += 1
    run.step()
    skipping.step()
    assert changed(held(skipping), run.nets.state()) == set()


def test_pictures_that_are_not_finite_stop_the_discriminator_alone_and_spoil_no_statistics(
    poison: Callable[..., None],
) -> None:
    run = trained()
    before = held(run)
    poison("labelled", "x")
    run.step()
    assert run.refused == {"D": 1}
    parameters = {f"net/D/{key}" for key, _ in run.nets.modules["D"].named_parameters()}
    moved = changed(before, run.nets.state())
    assert not moved & parameters
    assert {f"net/G/{key}" for key, _ in run.nets.modules["G"].named_parameters()} <= moved
    assert finite(run)
    run.step()
    assert not run.refused
    assert finite(run)


def test_a_picture_that_the_first_row_makes_and_only_a_later_one_reads_spoils_no_statistics(
    poison: Callable[..., None],
) -> None:
    run = trained(bn="split")
    before = held(run)
    poison("uniform", "divco negative 3")  # the discriminator does not look at what is made of it
    run.step()
    assert run.refused == {"G": 1}
    assert not changed(before, run.nets.state()) & remembered(before)
    assert finite(run)


def test_where_it_never_mends_the_run_ends_with_the_statistics_of_its_last_good_step(
    poison: Callable[..., None],
) -> None:
    run = trained()
    before = held(run)
    poison("normal", "z", *range(BAD, BAD + 3))
    run.step()
    run.step()
    with pytest.raises(Diverged):
        run.step()
    assert changed(before, run.nets.state()) == set()


@pytest.mark.parametrize("name", ["stylegan2", "stargan2", "bicycle", "drit", "cdc"])
def test_nothing_is_copied_where_no_norm_remembers(name: str) -> None:
    run = miniature.trainer(name)
    assert run.nets.running() == []
    assert not any(
        isinstance(part, nn.BatchNorm2d) for net in run.nets.modules.values() for part in net.modules()
    )
