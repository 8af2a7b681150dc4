"""StarGAN v2's rows, which share what they can, move the networks as the published iteration does."""

import pytest
import torch
from torch import Tensor

from benchmarks.literal.stargan2 import LiteralStarGAN2, Weights
from pipeline.methods import stargan2
from pipeline.trainer import Trainer
from tests import miniature

SIZES = {"base": 256, "widest": 12, "style_dim": 6, "latent_dim": 4, "hidden_dim": 10}
STEPS = 3


pytestmark = pytest.mark.usefixtures("double")


def bright(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Two masks that depend on the pictures, in place of a face's."""
    with torch.no_grad():
        grey = pictures.mean(1, keepdim=True)
        return torch.sigmoid(grey), torch.sigmoid(-2 * grey)


def ours(domains: int, high_pass: float, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    network = {"size": 32, **SIZES, "high_pass": high_pass}
    if high_pass:
        monkeypatch.setattr(stargan2, "masks_for", lambda nets, pictures: bright(pictures))
        monkeypatch.setattr("pipeline.families.stargan2.face_network", lambda where: torch.nn.Identity())
    settings = {"ds_over": 0.02, "fan": "none" if high_pass else None}
    return miniature.trainer("stargan2", network=network, settings=settings, domains=domains, steps=100)


def literal(trainer: Trainer, domains: int, high_pass: float) -> LiteralStarGAN2:
    masks = {"masks_of_x": bright, "masks_of_fake": bright} if high_pass else {}
    found = LiteralStarGAN2(
        32, domains, high_pass=high_pass, weights=Weights(diversity_steps=2), **SIZES, **masks
    )
    found.to(torch.float64)
    for name, network in found.networks.items():
        network.load_state_dict(trainer.nets.modules[name].state_dict())
    for name, average in found.averages.items():
        average.load_state_dict(trainer.nets.twins[name].state_dict())
    return found


@pytest.mark.parametrize(("domains", "high_pass"), [(2, 0.0), (3, 0.0), (2, 1.0)])
def test_three_steps_give_the_parameters_averages_and_terms_of_the_literal_iteration(
    domains: int, high_pass: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ours(domains, high_pass, monkeypatch)
    plain = literal(trainer, domains, high_pass)
    for step in range(STEPS):  # ds falls to 0 in the first two of them
        draws = trainer.draws.at(step, "any")
        (x, y), (x_ref, y_trg) = draws.labelled("x", True), draws.labelled("reference", True)
        x_ref2 = draws.partners("reference", True, False)
        z, z2 = draws.common().normal("z", 4), draws.common().normal("z2", 4)
        terms = plain.step(x, y, x_ref, x_ref2, y_trg, z, z2)
        trainer.step()
        found = trainer.readings()
        for key, value in terms.items():
            key = key.replace("reference", "ref").replace("diversity", "ds")
            if not (key.endswith("/ds") and step == 2):
                sign = -1 if key.endswith("/ds") else 1
                assert found[key] == pytest.approx(sign * float(value), abs=1e-10), (step, key)
    for name, network in plain.networks.items():
        mine = trainer.nets.modules[name].state_dict()
        for key, value in network.state_dict().items():
            assert (mine[key] - value).abs().max() < 1e-10, (name, key)
    for name, average in plain.averages.items():
        mine = dict(trainer.nets.twins[name].named_parameters())
        for key, parameter in average.named_parameters():
            assert (mine[key] - parameter).abs().max() < 1e-10, (name, key)


def test_a_step_runs_each_network_as_seldom_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one, as the specification of the exact rewrites counts them: 4 encodes, 7 decodes, 7 E, 6 D."""
    trainer = ours(2, 0.0, monkeypatch)
    count = {"encode": 0, "decode": 0, "E": 0, "D": 0, "F": 0}
    generator = trainer.nets.modules["G"]
    parts = {"encode": generator.encode, "decode": generator.decode}
    parts |= {name: trainer.nets.modules[name] for name in ("E", "D", "F")}

    def watch(name: str) -> None:
        def note(module: object, given: tuple[object, ...], output: object) -> None:
            first = given[1] if name == "decode" else given[0]
            assert isinstance(first, Tensor)
            count[name] += len(first)

        parts[name].register_forward_hook(note)

    for name in parts:
        watch(name)
    trainer.step()
    batch = 4
    assert {name: seen / batch for name, seen in count.items()} == {
        "encode": 4, "decode": 7, "E": 7, "D": 6, "F": 2,
    }  # fmt: skip
