"""The rows of DCGAN and BicycleGAN move the networks as the published steps do, in their corrected order."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.literal.conditional import ClassWeights, LiteralClassDivCo, LiteralPairDivCo, PairWeights
from models.conditional.bicycle import Generator
from pipeline.methods import bicycle, dcgan
from pipeline.methods.diversity import neighbours
from pipeline.trainer import Trainer
from tests import miniature

STEPS, CLOSE = 3, 1e-10
OURS = {
    "G/contrast": "G/divco",
    "G/divergence": "G/kl",
    "G_alone/contrast": "G/divco",
    "G_alone/regression": "G/latent_regression",
}

pytestmark = pytest.mark.usefixtures("double")


def copies(trainer: Trainer) -> dict[str, torch.nn.Module]:
    """Networks of their own, at the first values of the trainer's, with gradients on."""
    fresh = copy.deepcopy(trainer.nets.modules)
    return {name: network.requires_grad_(True) for name, network in fresh.items()}


def same_terms(trainer: Trainer, terms: dict[str, Tensor]) -> None:
    found = trainer.readings()
    for key, value in terms.items():
        key = OURS.get(key, key)
        if key in found:
            assert found[key] == pytest.approx(float(value), abs=CLOSE), (trainer.step_number, key)
    assert set(found) <= {OURS.get(key, key) for key in terms}


def same_networks(trainer: Trainer, networks: dict[str, Any]) -> None:
    for name in trainer.method.optimisers:
        mine = trainer.nets.modules[name].state_dict()
        for key, value in networks[name].state_dict().items():
            assert (mine[key] - value).abs().max() < CLOSE, (name, key)


@pytest.mark.parametrize("diversity", ["none", "divco"])
@pytest.mark.parametrize("features", ["discriminator", "frozen_projection"])
def test_three_steps_of_classes_give_the_networks_and_terms_of_the_literal_step(
    diversity: str, features: str
) -> None:
    settings = {"divco_features": features, "divco_negatives": 3, "divco_radius": 0.2}
    trainer = miniature.trainer("dcgan", diversity=diversity, settings=settings, batch=5)
    networks = copies(trainer)
    look = networks.get("projection", lambda body: body.mean((2, 3)))
    literal = LiteralClassDivCo(networks, look, ClassWeights(contrast=0.3))
    own = miniature.job_of("dcgan", diversity=diversity, settings=settings).method_settings()
    for step in range(STEPS):
        draws = trainer.draws.at(step, "any", whole=True)
        x, y = draws.labelled("x", False)
        z, codes = dcgan.latents(trainer.nets, draws, own)
        assert len(codes) == (5 if diversity == "divco" else 1)
        terms = literal.step(x, y, z, codes)
        trainer.step()
        same_terms(trainer, terms)
    same_networks(trainer, networks)


@pytest.mark.parametrize("terms", ["none", "latent_regression", "divco", "divco+latent_regression"])
@pytest.mark.parametrize("size", [32, 64])
def test_three_steps_of_pairs_give_the_networks_and_terms_of_the_literal_step(terms: str, size: int) -> None:
    settings = {"divco_negatives": 2, "lr_fall": 0.0}
    values = {"diversity": terms.split("+"), "settings": settings}
    trainer = miniature.trainer("bicycle", network={"size": size, "latent_dim": 4, "width": 4}, **values)
    networks = copies(trainer)
    regression = 0.5 if "latent_regression" in terms else 0.0
    literal = LiteralPairDivCo(networks, PairWeights(regression=regression))
    own = miniature.job_of("bicycle", **values).method_settings()
    for step in range(STEPS):
        draws = trainer.draws.at(step, "any")
        a, b = draws.pairs()
        rows = draws.common().sized(2)
        query = rows.normal("query", 4)
        codes = torch.stack([query, *(neighbours(query, rows, own) if "divco" in terms else [])])
        masks = bicycle.dropped(trainer.nets.of(Generator, "G"), rows, "made", 1 + len(codes), 0.5)
        assert masks is not None
        assert bool(masks) == (size == 64)
        split = [mask[:2] for mask in masks], [mask[2:] for mask in masks]
        found = literal.step(a[:2], b[:2], b[2:], rows.normal("noise", 4), codes, split)
        trainer.step()
        same_terms(trainer, found)
    same_networks(trainer, networks)
