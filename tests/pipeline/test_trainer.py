"""The loop, on a method of one line whose gradients are known, and on the real ones cut into parts."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cluster.engine import PlainEngine
from pipeline.draws import Draws, StepDraws
from pipeline.nets import Nets
from pipeline.phase import Adam, Average, Method, Phase, Ramp, Tensors, Term, When
from pipeline.trainer import Diverged, Trainer
from tests import miniature

NAN, INF = math.nan, math.inf


def itself(value: Tensor) -> Tensor:
    return value


def broken(
    steps: set[int], factor: float, trains: str = "G", name: str = "pull", when: When | None = None
) -> Phase:
    """Pulls the weights of `trains` towards 0; on `steps` its loss is multiplied by `factor`. Counts its runs."""

    def forward(nets: Nets, draws: StepDraws) -> Tensors:
        nets.memory["runs"] = nets.memory["runs"] + 1
        pull = nets.of(nn.Linear, trains).weight.square().sum()
        return {"pull": pull * factor if draws.step in steps else pull}

    return Phase(name, (trains,), forward, (Term("pull", itself, ("pull",)),), when or When())


def trainer(*phases: Phase) -> Trainer:
    names = sorted({name for phase in phases for name in phase.trains})
    method = Method("toy", phases, {n: Adam(0.1, (0.0, 0.9)) for n in names}, {names[0]: Average(5.0)})
    nets = Nets({name: nn.Linear(3, 3) for name in names}, method, {"runs": torch.zeros(())}, miniature.CPU)
    return Trainer(method, nets, Draws(0, 4, miniature.CPU), PlainEngine(miniature.CPU))


@pytest.mark.parametrize("factor", [NAN, INF])
def test_a_step_that_is_not_finite_is_not_applied_and_the_next_one_is(factor: float) -> None:
    run = trainer(broken({2}, factor))
    run.step()
    run.step()
    before = {key: value.clone() for key, value in run.nets.state().items()}
    run.step()
    after = run.nets.state()
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert all(key.startswith("ema/") for key in moved)  # the average goes on towards what is there
    assert run.refused == {"pull": 1}
    run.step()
    assert not run.refused
    assert not torch.equal(run.nets.state()["net/G/weight"], before["net/G/weight"])
    assert all(bool(value.isfinite().all()) for value in run.nets.state().values())


def test_the_third_step_in_a_row_that_is_not_finite_ends_the_run_by_name() -> None:
    run = trainer(broken({1, 2, 3}, NAN))
    for _ in range(3):
        run.step()
    with pytest.raises(Diverged, match="pull at step 3: a gradient was not finite 3 times in a row"):
        run.step()


def test_three_that_are_not_in_a_row_do_not_end_it() -> None:
    run = trainer(broken({1, 2, 4, 5, 7}, NAN))
    for _ in range(9):
        run.step()
    assert not run.refused


def test_one_phase_that_always_fails_ends_the_run_though_another_goes_well() -> None:
    run = trainer(broken(set(), 1.0, "D", "D"), broken({0, 1, 2}, NAN, "G", "G"))
    run.step()
    run.step()
    with pytest.raises(Diverged, match="G at step 2"):
        run.step()


def test_a_lazy_phase_is_counted_over_its_own_steps() -> None:
    run = trainer(broken(set(), 1.0, "D", "D"), broken({0, 4, 8}, NAN, "D", "R1", When(every=4)))
    for _ in range(8):
        run.step()
    assert run.refused == {"R1": 2}
    with pytest.raises(Diverged, match="R1 at step 8"):
        run.step()


def test_the_count_survives_a_checkpoint() -> None:
    run = trainer(broken({0, 1, 2}, NAN))
    run.step()
    run.step()
    again = trainer(broken({0, 1, 2}, NAN))
    again.load(run.state())
    assert again.step_number == 2
    with pytest.raises(Diverged):
        again.step()


def test_a_path_length_that_is_not_finite_does_not_reach_the_running_mean() -> None:
    run = miniature.trainer("tgan")
    run.step()
    before = run.nets.memory["path_mean"].clone()
    generator = run.nets.modules["G"]
    kept = generator.input.input.clone()  # type: ignore[union-attr, operator]
    generator.input.input.data.fill_(NAN)  # type: ignore[union-attr]
    run.step_number = 4
    run.step()
    assert run.refused == {"D": 1, "G": 1, "path": 1}
    assert torch.equal(run.nets.memory["path_mean"], before)
    generator.input.input.data.copy_(kept)  # type: ignore[union-attr]
    run.step_number = 8
    run.step()
    assert not run.refused
    assert bool(run.nets.memory["path_mean"].isfinite())


def test_terms_are_logged_raw_and_weighed_once() -> None:
    target = torch.full((3, 3), 2.0)

    def forward(nets: Nets, draws: StepDraws) -> Tensors:
        weight = nets.of(nn.Linear, "G").weight
        return {"near": (weight - target).square().sum(), "small": weight.abs().sum()}

    terms = (
        Term("near", itself, ("near",), 0.25),
        Term("small", itself, ("small",), Ramp(2.0, 0.0, 4)),
        Term("rare", itself, ("small",), 100.0, When(every=2, start=1)),
    )
    run = trainer(Phase("row", ("G",), forward, terms, gain=8.0))
    weight = run.nets.modules["G"].weight.detach().clone()  # type: ignore[operator, union-attr]
    gradient: list[Tensor] = []
    run.nets.move = lambda names, step: gradient.extend(run.nets.gradients(names))  # type: ignore[method-assign]
    run.step()
    assert run.readings() == pytest.approx(
        {"row/near": float((weight - target).square().sum()), "row/small": float(weight.abs().sum())}
    )
    torch.testing.assert_close(gradient[0], 8 * (0.25 * 2 * (weight - target) + 2.0 * weight.sign()))


def test_the_average_moves_by_its_own_decay_and_has_no_graph() -> None:
    run = trainer(broken(set(), 1.0))
    expected = run.nets.twins["G"].weight.detach().clone()  # type: ignore[operator, union-attr]
    for _ in range(4):
        run.step()
        now = run.nets.modules["G"].weight.detach()  # type: ignore[operator, union-attr]
        expected = expected * 0.5 ** (1 / 5) + now * (1 - 0.5 ** (1 / 5))
    twin = run.nets.twins["G"].weight
    torch.testing.assert_close(twin.detach(), expected)  # type: ignore[operator, union-attr]
    assert twin.grad_fn is None
    assert not twin.requires_grad


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", ["stylegan2", "tgan", "cdc", "rssa"])
def test_a_batch_cut_into_parts_moves_as_the_whole_one_does(name: str) -> None:
    settings = {"r1_every": 2, "path_every": 2}
    whole, parts = (miniature.trainer(name, batch=8, parts=parts, settings=settings) for parts in (1, 2))
    for _ in range(3):
        whole.step()
        parts.step()
    one, two = whole.nets.state(), parts.nets.state()
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-9, atol=1e-9, msg=key)
    assert parts.readings() == pytest.approx(whole.readings(), rel=1e-9)


def test_a_graph_that_one_phase_lends_is_pulled_on_by_a_later_one() -> None:
    def lend(nets: Nets, draws: StepDraws) -> Tensors:
        made = draws.shared("made", lambda: nets.of(nn.Linear, "G")(torch.ones(3)))
        return {"pull": nets.of(nn.Linear, "D")(made.detach()).square().sum()}

    def use(nets: Nets, draws: StepDraws) -> Tensors:
        made = draws.shared("made", lambda: torch.full((3,), math.nan))
        return {"pull": made.square().sum()}

    term = (Term("pull", itself, ("pull",)),)
    first, second = Phase("D", ("D",), lend, term, lends=("G",)), Phase("G", ("G",), use, term)
    run = trainer(first, second)
    before = {name: run.nets.of(nn.Linear, name).weight.clone() for name in ("D", "G")}
    made = run.nets.of(nn.Linear, "G")(torch.ones(3)).detach()
    run.step()
    for name in before:
        assert not torch.equal(run.nets.of(nn.Linear, name).weight, before[name])
    gradient = run.nets.of(nn.Linear, "G").weight.grad
    assert gradient is not None
    assert torch.allclose(gradient, (2 * made)[:, None].expand(3, 3))


def test_a_clipped_phase_gives_each_network_a_gradient_of_at_most_that_norm() -> None:
    run = trainer(replace(broken(set(), 1e4), clip=0.5))
    run.step()
    gradient = run.nets.of(nn.Linear, "G").weight.grad
    assert gradient is not None
    assert gradient.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_learning_rate_and_weight_decay_are_those_of_the_step() -> None:
    falling = Adam(Ramp(0.1, 0.0, 10, start=5), (0.0, 0.99), weight_decay=0.3)
    phase = broken(set(), 1.0)
    method = Method("toy", (phase,), {"G": falling}, {})
    nets = Nets({"G": nn.Linear(3, 3)}, method, {"runs": torch.zeros(())}, miniature.CPU)
    twin = nn.Linear(3, 3)
    twin.load_state_dict(nets.modules["G"].state_dict())
    run = Trainer(method, nets, Draws(0, 4, miniature.CPU), PlainEngine(miniature.CPU))
    plain = torch.optim.Adam(twin.parameters(), lr=0.1, betas=(0.0, 0.99), weight_decay=0.3)
    for step in range(12):
        run.step()
        plain.param_groups[0]["lr"] = 0.1 if step < 5 else 0.1 - 0.01 * (step - 5)
        plain.zero_grad()
        twin.weight.square().sum().backward()
        plain.step()
        assert torch.allclose(run.nets.of(nn.Linear, "G").weight, twin.weight, atol=1e-6)
