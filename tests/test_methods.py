"""What every method in the tables keeps, and a newcomer's from the day it appears."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.job import Job
from pipeline.methods import METHODS, PRETRAINING
from pipeline.nets import Nets
from pipeline.phase import Method
from tests import miniature

ALL = [*METHODS, *PRETRAINING]
TABLES = {**METHODS, **PRETRAINING}
PROFILES = [(name, profile) for name in ALL for profile in TABLES[name].profiles if profile != "default"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # what batch norm moves in training


def every_term(name: str) -> list[str]:
    """The names of a method's weights."""
    weights = miniature.job_of(name).method_settings().weights
    return list(type(weights).model_fields)


def copied(nets: Nets) -> dict[str, dict[str, Tensor]]:
    return {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in nets.modules.items()}


def table_of(name: str, **values: Any) -> Method:
    return TABLES[name].table(miniature.job_of(name, **values).method_settings())


@pytest.mark.parametrize("name", ALL)
def test_ten_steps_are_finite_and_move_exactly_the_declared_networks(name: str) -> None:
    trainer = miniature.trainer(name)
    before = copied(trainer.nets)
    twins = {name: copy.deepcopy(twin.state_dict()) for name, twin in trainer.nets.twins.items()}
    for _ in range(10):
        trainer.step()
    assert not trainer.refused
    assert all(torch.isfinite(torch.tensor(value)) for value in trainer.readings().values())
    declared = {net for phase in trainer.method.phases for net in phase.trains}
    assert declared == set(trainer.method.optimisers)
    for net, module in trainer.nets.modules.items():
        parameters = dict(module.named_parameters())
        for key, value in module.state_dict().items():
            same = torch.equal(value, before[net][key])
            moves = key in parameters or key.endswith(STATISTICS)
            if net not in declared or not moves:
                assert same, f"{net}.{key} is frozen, and moved"
        if net in declared:
            assert any(not torch.equal(p, before[net][k]) for k, p in parameters.items()), (
                f"{net} never moved"
            )
    for name, twin in twins.items():
        now, trained = (
            trainer.nets.twins[name].state_dict(),
            dict(trainer.nets.modules[name].named_parameters()),
        )
        assert all(torch.equal(now[k], twin[k]) != (k in trained) for k in now), (
            f"the twin of {name} follows parameters alone"
        )


@pytest.mark.parametrize("name", ALL)
def test_every_trained_parameter_receives_a_gradient_within_sixteen_steps(name: str) -> None:
    trainer = miniature.trainer(name)
    waiting = {
        (net, key)
        for net in trainer.method.optimisers
        for key, _ in trainer.nets.modules[net].named_parameters()
    }
    move = trainer.nets.move

    def watched(names: tuple[str, ...], step: int) -> None:
        for net in names:
            for key, parameter in trainer.nets.modules[net].named_parameters():
                if parameter.grad is not None and bool((parameter.grad != 0).any()):
                    waiting.discard((net, key))
        move(names, step)

    trainer.nets.move = watched  # type: ignore[assignment, method-assign]
    for _ in range(16):
        trainer.step()
    assert not waiting


@pytest.mark.parametrize("name", ALL)
def test_only_the_networks_of_a_phase_have_gradients_on_while_it_runs(name: str) -> None:
    trainer = miniature.trainer(name)
    seen: list[tuple[set[str], set[str]]] = []
    only = trainer.nets.only

    def watched(names: tuple[str, ...], lends: tuple[str, ...]) -> None:
        only(names, lends)
        on = {n for n, m in trainer.nets.modules.items() if any(p.requires_grad for p in m.parameters())}
        seen.append(({*names, *lends}, on))

    trainer.nets.only = watched  # type: ignore[assignment, method-assign]
    trainer.step()
    trainer.step()
    assert seen
    assert all(wanted == on for wanted, on in seen)
    assert not any(p.requires_grad for twin in trainer.nets.twins.values() for p in twin.parameters())


@pytest.mark.parametrize("name", ALL)
def test_the_table_prints_every_phase_on_a_line_and_names_every_term(name: str) -> None:
    method = table_of(name)
    lines = method.table().split("\n")
    assert len(lines) == len(method.phases)
    assert lines[0].startswith(name)
    for line, phase in zip(lines, method.phases, strict=True):
        assert phase.name in line
        assert "trains " + "+".join(phase.trains) in line
        assert all(f" {term.name}" in line for term in phase.terms)


@pytest.mark.parametrize("name", ALL)
def test_logged_terms_have_the_keys_of_the_table(name: str) -> None:
    trainer = miniature.trainer(name)
    for _ in range(7):
        trainer.step()
    assert set(trainer.readings()) == {
        f"{phase.name}/{term.name}" for phase in trainer.method.phases for term in phase.terms
    }


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_every_profile_builds_and_runs(name: str, profile: str) -> None:
    trainer = miniature.trainer(name, profile=profile)
    for _ in range(3):
        trainer.step()
    assert not trainer.refused


@pytest.mark.parametrize("name", ALL)
def test_two_runs_of_one_seed_are_bit_equal_and_of_two_seeds_are_not(name: str) -> None:
    def after(seed: int) -> dict[str, Tensor]:
        trainer = miniature.trainer(name, seed=seed)
        for _ in range(3):
            trainer.step()
        return trainer.nets.state()

    first, again, other = after(0), after(0), after(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first if key.startswith("net/G/"))


@pytest.mark.parametrize(
    ("name", "keys", "bound"),
    [
        ("cdc", {"G_image/distance"}, 1e-12),
        ("rssa", {"G_image/self", "G_image/cross"}, 1e-12),
    ],
)
def test_an_adapted_generator_that_is_still_the_source_pays_no_consistency(
    name: str, keys: set[str], bound: float
) -> None:
    trainer = miniature.trainer(name)
    trainer.step()
    found = {key: value for key, value in trainer.readings().items() if key in keys}
    assert set(found) == keys
    assert all(abs(value) < bound for value in found.values()), found
    for _ in range(6):
        trainer.step()
    later = {key: trainer.readings()[key.replace("G_image", "G_patch")] for key in keys}
    assert all(value > bound for value in later.values()), later


def test_as_released_cdc_compares_under_different_noise_and_pays_from_the_start() -> None:
    trainer = miniature.trainer("cdc", settings={"shared_noise": False})
    trainer.step()
    assert trainer.readings()["G_image/distance"] > 0


@pytest.mark.parametrize(("name", "term"), [(name, term) for name in ALL for term in every_term(name)])
def test_a_weight_of_zero_removes_its_term(name: str, term: str) -> None:
    everything = {t.name for phase in table_of(name).phases for t in phase.terms}
    trainer = miniature.trainer(name, weights={term: 0.0})
    assert {t.name for phase in trainer.method.phases for t in phase.terms} == everything - {term}
    trainer.step()
    assert not any(key.endswith(f"/{term}") for key in trainer.readings())


@pytest.mark.parametrize("name", list(METHODS))
def test_a_published_weight_is_its_default(name: str) -> None:
    published = {"real": 1.0, "fake": 1.0, "fool": 1.0, "r1": 5.0, "path": 2.0}
    published |= {"cdc": {"distance": 1000.0}, "rssa": {"self": 0.8, "cross": 0.4}}.get(name, {})
    assert Job(method=name).method_settings().weights.model_dump() == published
