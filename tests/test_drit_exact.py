"""DRIT's rows, which share what they can, move the networks as the published iteration does."""

from typing import Any

import pytest
from torch import Tensor

from benchmarks.literal.drit import LiteralDRIT, Noise, Weights
from pipeline.methods.diversity import neighbours
from pipeline.trainer import Trainer
from tests import miniature

LATENT, CONTENT, HALF = 3, (8, 8, 8), 2
SCHEDULE = {"d_iter": 2, "fall_from": 0.02, "divco_negatives": 2}
STEPS = 5  # all rows on the first, third and fifth; rates fall from the third
pytestmark = pytest.mark.usefixtures("double")


def ours(generator: str, weights: dict[str, float], **settings: Any) -> Trainer:
    every = {"mode_seeking": 0.0, "divco": 0.0, "latent_regression": 10.0} | weights
    settings = {**SCHEDULE, "generator": generator, **settings}
    return miniature.trainer("drit", steps=100, weights=every, settings=settings)


def literal(trainer: Trainer, weights: dict[str, float], second_judged: bool) -> LiteralDRIT:
    twin = miniature.trainer("drit", steps=100, settings={"generator": kind_of(trainer)}, seed=9).nets.modules
    for name, network in twin.items():
        network.load_state_dict(trainer.nets.modules[name].state_dict())
        network.requires_grad_(True)
    numbers = {"seeking": weights.get("mode_seeking", 0.0), "contrast": weights.get("divco", 0.0)}
    numbers["regression"] = weights.get("latent_regression", 10.0)
    return LiteralDRIT(twin, Weights(**numbers, steps=100, fall_from=2), second_judged)


def kind_of(trainer: Trainer) -> str:
    return "concat" if type(trainer.nets.modules["G"]).__name__ == "ConcatGenerator" else "featurewise"


def drawn(trainer: Trainer, step: int, contrasting: bool) -> tuple[list[Tensor], list[Tensor], Noise]:
    """The pictures and the noise of a step, by the names under which our rows draw them."""
    rows = {name: trainer.draws.at(step, name).sized(HALF) for name in ("D_images", "EG1", "EG2")}
    whole = trainer.draws.at(step, "any")
    pictures = [whole.of_domain(domain, name) for domain, name in enumerate("AB")]
    shared, first, second = whole.common().sized(HALF), rows["EG1"], rows["EG2"]
    z = second.normal("z", LATENT)
    settings = miniature.job_of("drit", settings=SCHEDULE).method_settings()
    noise = Noise(
        [shared.normal(f"own content {name}", *CONTENT) for name in "AB"],
        [shared.normal(f"own attributes {name}", LATENT) for name in "AB"],
        [first.normal(f"back content {name}", *CONTENT) for name in "AB"],
        [first.normal(f"back attributes {name}", LATENT) for name in "AB"],
        [second.normal(f"random content {name}", *CONTENT) for name in "AB"],
        rows["D_images"].normal("z", LATENT),
        rows["D_images"].normal("z2", LATENT),
        z,
        second.normal("z2", LATENT),
        neighbours(z, second, settings) if contrasting else (),
    )
    return [x[:HALF] for x in pictures], [x[HALF:] for x in pictures], noise


@pytest.mark.parametrize("generator", ["concat", "featurewise"])
@pytest.mark.parametrize(
    ("weights", "second_judged"),
    [
        ({}, False),
        ({"divco": 0.7, "latent_regression": 0.0}, False),
        ({"mode_seeking": 1.0}, True),
        ({"mode_seeking": 0.6, "divco": 0.7}, True),
    ],
)
def test_five_steps_give_the_parameters_and_terms_of_the_literal_iteration(
    generator: str, weights: dict[str, float], second_judged: bool
) -> None:
    trainer = ours(generator, weights, second_judged=second_judged)
    plain = literal(trainer, weights, second_judged)
    for step in range(STEPS):
        x, other, noise = drawn(trainer, step, "divco" in weights)
        terms = plain.step(x, other, noise, all_of_it=step % 2 == 0)
        trainer.step()
        found = trainer.readings()
        for key, value in terms.items():
            if key == "EG2/latent_regression" and weights.get("latent_regression") == 0:
                continue
            assert found[key] == pytest.approx(float(value), rel=1e-10, abs=1e-10), (step, key)
    for name, network in plain.networks.items():
        mine = trainer.nets.modules[name].state_dict()
        for key, value in network.state_dict().items():
            # A norm takes most biases away: their gradient is rounding alone, which Adam makes larger.
            near = 1e-6 if key.endswith("bias") else 1e-9
            assert (mine[key] - value).abs().max() < near, (name, key)


def test_a_full_step_runs_each_network_as_seldom_as_can_be() -> None:
    """Passes over half batches: of a K-fold code a generator's pass counts once."""
    trainer = ours("concat", {"divco": 0.7})
    count = dict.fromkeys(trainer.nets.modules, 0)

    def watch(name: str) -> None:
        def note(module: object, given: tuple[object, ...], output: object) -> None:
            count[name] += 1

        trainer.nets.modules[name].register_forward_hook(note)

    for name in count:
        watch(name)
    trainer.step()
    judges = {"D_A": 2, "D_B": 2, "D_A2": 2, "D_B2": 2, "D_content": 3}
    assert count == {"E_c": 6, "E_a": 6, "G": 10, **judges}
    trainer.step()
    assert count == {"E_c": 8, "E_a": 6, "G": 10, **judges, "D_content": 4}
