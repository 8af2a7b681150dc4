"""What StarGAN v2's profile `released` does otherwise than `default`: where averages start, and who is a partner."""

from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn

from pipeline.data.domains import Domains
from pipeline.trainer import Trainer
from tests import miniature

AVERAGED = ("G", "F", "E")
STEPS = 12  # of 4 references each: more than the 18 pictures that there are


def scaled_weights(module: nn.Module) -> Tensor:
    """All values of convolutions and linear layers, each times the root of its layer's fan-in: [n]."""
    layers = [part.weight.detach() for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return torch.cat([(weight * weight[0].numel() ** 0.5).flatten() for weight in layers])


@pytest.mark.parametrize("name", AVERAGED)
def test_by_default_an_average_starts_as_its_network(name: str) -> None:
    nets = miniature.trainer("stargan2").nets
    twin, live = nets.twins[name].state_dict(), nets.modules[name].state_dict()
    assert twin.keys() == live.keys()
    assert [key for key in live if not twin[key].equal(live[key])] == []


@pytest.mark.parametrize("name", AVERAGED)
def test_as_released_an_average_starts_where_the_network_was_before_hes_rule(name: str) -> None:
    nets = miniature.trainer("stargan2", profile="released").nets
    live, twin = scaled_weights(nets.modules[name]), scaled_weights(nets.twins[name])
    assert float(live.std()) == pytest.approx(2**0.5, rel=0.05)  # normal, of deviation sqrt(2 / fan-in)
    assert float(twin.std()) == pytest.approx(3**-0.5, rel=0.05)  # torch's: uniform within 1 / sqrt(fan-in)
    assert float(twin.abs().max()) <= 1 + 1e-6
    default = miniature.trainer("stargan2").nets
    for key, value in nets.modules[name].state_dict().items():
        assert value.equal(default.modules[name].state_dict()[key]), (
            key
        )  # the networks themselves are the same


def test_as_released_an_average_goes_from_there_by_a_thousandth_a_step() -> None:
    run = miniature.trainer("stargan2", profile="released")
    before = {name: [p.clone() for p in run.nets.twins[name].parameters()] for name in AVERAGED}
    run.step()
    for name in AVERAGED:
        live = run.nets.modules[name].parameters()
        for start, now, twin in zip(before[name], live, run.nets.twins[name].parameters(), strict=True):
            torch.testing.assert_close(twin, 0.999 * start + 0.001 * now, rtol=1e-5, atol=1e-6)


def partners_of(run: Trainer, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], list[bytes]]:
    """By domain and place of a reference: the second references that came with it, each time it was seen."""
    seen: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    drawn = Domains.partner

    def noted(domains: Domains, labels: Tensor, counters: Tensor, stream: str, fixed: bool) -> Tensor:
        found = drawn(domains, labels, counters, stream, fixed)
        places = domains.indices(labels, counters, stream)
        for label, place, one in zip(labels.tolist(), places.tolist(), found, strict=True):
            seen[label, place].append(one.numpy().tobytes())
        return found

    monkeypatch.setattr(Domains, "partner", noted)
    (row,) = [phase for phase in run.method.phases if phase.name == "G_ref"]
    with torch.no_grad():
        for step in range(STEPS):
            row.forward(run.nets, run.draws.at(step, row.name))
    return seen


@pytest.mark.parametrize(("profile", "fixed"), [("default", False), ("released", True)])
def test_the_partner_of_a_reference_stays_as_released_and_is_drawn_anew_by_default(
    profile: str, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = partners_of(miniature.trainer("stargan2", profile=profile), monkeypatch)
    again = [found for found in seen.values() if len(found) > 1]
    assert len(again) >= 6
    assert all(len(set(found)) == 1 for found in again) is fixed
    if not fixed:
        assert sum(len(set(found)) > 1 for found in again) > len(again) / 2
