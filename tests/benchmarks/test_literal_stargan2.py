"""The literal iteration of StarGAN v2 is the published one: its sizes, names, passes, steps and numbers."""

import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import interpolate

from benchmarks.literal.stargan2 import LiteralStarGAN2, Weights
from benchmarks.literal.stargan2_networks import Generator, MappingNetwork, StyleEncoder


def masks(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Stand-ins that answer to the picture, of another side than it."""
    grey = interpolate(pictures.mean(1, keepdim=True), size=(20, 20))
    return torch.sigmoid(3 * grey), torch.sigmoid(-2 * grey)


def tiny(high_pass: float = 0.0, domains: int = 3, seed: int = 0, **weights: float) -> LiteralStarGAN2:
    """Float64 networks without a zero among their parameters, averages equal to them."""
    torch.manual_seed(seed)
    literal = LiteralStarGAN2(
        32,
        domains,
        128,
        8,
        high_pass,
        latent_dim=3,
        style_dim=4,
        hidden_dim=6,
        weights=Weights(**weights),
        masks_of_x=masks if high_pass else None,
        masks_of_fake=masks if high_pass else None,
    ).to(torch.float64)
    with torch.no_grad():
        for name, network in literal.networks.items():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            if name in literal.averages:
                literal.averages[name].load_state_dict(network.state_dict())
    return literal


def batch(seed: int = 0, domains: int = 3, count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, dtype=torch.float64, generator=generator)

    def labels() -> torch.Tensor:
        return torch.randint(domains, (count,), generator=generator)

    x, x_ref, x_ref2 = (normal(3, 32, 32).tanh() for _ in range(3))
    return [x, labels(), x_ref, x_ref2, labels(), normal(3), normal(3)]


def parameters(literal: LiteralStarGAN2) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": parameter.detach().clone()
        for name, network in literal.networks.items()
        for key, parameter in network.named_parameters()
    }


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not before[key].equal(after[key])}


@pytest.mark.parametrize("high_pass", [0.0, 1.0])
def test_an_iteration_makes_the_calls_of_the_release(high_pass):
    literal = tiny(high_pass)
    literal.step(*batch())
    made = Counter({"G": 8, "F": 3, "E": 7, "D": 6})
    if high_pass:
        made["masks"] = 3
    assert literal.calls == made
    # Of D's eight, two are R1's own; of F, one latent is behind a picture that counts as a constant.
    assert literal.backwards == Counter({"G": 4, "F": 1, "E": 5, "D": 8})


def test_networks_step_in_the_published_order_and_no_other_moves():
    literal, stepped = tiny(), []
    before = parameters(literal)
    for name, optimiser in literal.optimisers.items():
        original = optimiser.step

        def noted(name=name, original=original):
            ahead = parameters(literal)
            original()
            changed = moved(ahead, parameters(literal))
            assert changed == {key for key in ahead if key.startswith(f"{name}.")}
            stepped.append(name)

        optimiser.step = noted
    literal.step(*batch())
    assert stepped == ["D", "D", "G", "F", "E", "G"]
    # Heads of domains that no sample has move too: their gradient is zero, not missing, and decays.
    assert moved(before, parameters(literal)) == set(before)


def test_only_the_shortcuts_that_a_high_pass_leaves_unused_stay():
    literal = tiny(high_pass=1.0)
    before = parameters(literal)
    literal.step(*batch())
    stayed = set(before) - moved(before, parameters(literal))
    assert stayed == {key for key in before if key.startswith("G.decode") and "conv1x1" in key}
    assert stayed


def test_inputs_are_left_as_they_were():
    given = batch()
    kept = [each.clone() for each in given]
    tiny().step(*given)
    assert all(a.equal(b) and not a.requires_grad for a, b in zip(given, kept, strict=True))


@pytest.mark.parametrize("high_pass", [0.0, 0.5])
def test_the_same_networks_and_draws_give_the_same_iteration(high_pass):
    found = []
    for _ in range(2):
        literal = tiny(high_pass)
        terms = [literal.step(*batch(seed)) for seed in (1, 2)]
        found.append((terms, parameters(literal)))
    for first, second in zip(found[0][0], found[1][0], strict=True):
        assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
    assert moved(found[0][1], found[1][1]) == set()


def test_terms_of_the_first_pass_by_loops():
    literal, (x, y, x_ref, x_ref2, y_trg, z, z2) = tiny(), batch()
    d = literal.networks["D"]
    with torch.no_grad():
        made = literal.networks["G"](x, literal.networks["F"](z, y_trg))
        logits, fakes = d.main(x).flatten(1).tolist(), d.main(made).flatten(1).tolist()
    real = sum(math.log1p(math.exp(-row[k])) for row, k in zip(logits, y.tolist(), strict=True)) / 2
    fake = sum(math.log1p(math.exp(row[k])) for row, k in zip(fakes, y_trg.tolist(), strict=True)) / 2
    penalty = 0.0
    for picture, label in zip(x, y.tolist(), strict=True):
        slope = torch.autograd.functional.jacobian(lambda p, k=label: d.main(p[None])[0, k, 0, 0], picture)
        penalty += sum(v * v for v in slope.flatten().tolist()) / 2 / 2
    terms = literal.step(x, y, x_ref, x_ref2, y_trg, z, z2)
    found = [terms[f"D_latent/{name}"].item() for name in ("real", "fake", "r1")]
    assert found == pytest.approx([real, fake, penalty], rel=1e-10)


def test_terms_of_the_generator_by_loops():
    # A discriminator and generators that hardly move: what comes after the first pass is what was before.
    literal = tiny(high_pass=1.0, rate=1e-14, mapping_rate=1e-14)
    x, y, x_ref, x_ref2, y_trg, z, z2 = batch()
    nets, found = literal.networks, masks(x)

    def gap(a, b):
        return (
            sum(abs(p - q) for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
            / a.numel()
        )

    expected = {}
    with torch.no_grad():
        latent = nets["F"](z, y_trg), nets["F"](z2, y_trg)
        reference = nets["E"](x_ref, y_trg), nets["E"](x_ref2, y_trg)
        for label, (s, s2) in (("G_latent", latent), ("G_reference", reference)):
            made = nets["G"](x, s, found)
            back = nets["G"](made, nets["E"](x, y), masks(made))
            logits = nets["D"](made, y_trg).tolist()
            expected[f"{label}/fool"] = sum(math.log1p(math.exp(-v)) for v in logits) / 2
            expected[f"{label}/style"] = gap(nets["E"](made, y_trg), s)
            expected[f"{label}/diversity"] = gap(made, nets["G"](x, s2, found))
            expected[f"{label}/cycle"] = gap(back, x)
    terms = literal.step(x, y, x_ref, x_ref2, y_trg, z, z2)
    assert {key: terms[key].item() for key in expected} == pytest.approx(expected, rel=1e-7)
    assert len(terms) == 3 + 3 + 4 + 4


def test_the_terms_are_weighed_and_reach_what_they_should():
    literal = tiny(style=0.7, diversity=1.9, cycle=2.3, rate=1e-14, mapping_rate=1e-14)
    x, y, x_ref, x_ref2, y_trg, z, z2 = batch()
    nets, seen = literal.networks, {}
    for name in "GFE":
        optimiser = literal.optimisers[name]
        original = optimiser.step

        def noted(name=name, original=original):
            slopes = [p.grad.clone() for p in nets[name].parameters()]
            seen.setdefault(name, []).append(slopes)
            original()

        optimiser.step = noted
    literal.step(x, y, x_ref, x_ref2, y_trg, z, z2)
    for turn, (code, names) in enumerate(((lambda: nets["F"](z, y_trg), "GFE"), (None, "G"))):
        s = nets["E"](x_ref, y_trg) if code is None else code()
        with torch.no_grad():
            s2 = nets["E"](x_ref2, y_trg) if code is None else nets["F"](z2, y_trg)
            other = nets["G"](x, s2)
        made = nets["G"](x, s)
        loss = -torch.log(nets["D"](made, y_trg).sigmoid()).mean()
        loss = loss + 0.7 * (nets["E"](made, y_trg) - s).abs().mean()
        loss = loss - 1.9 * (made - other).abs().mean()
        loss = loss + 2.3 * (nets["G"](made, nets["E"](x, y)) - x).abs().mean()
        for name in names:
            expected = torch.autograd.grad(loss, list(nets[name].parameters()), retain_graph=True)
            for found, slope in zip(seen[name][turn], expected, strict=True):
                torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-9)


def test_the_first_step_of_the_discriminator_is_adams_with_decay_in_the_gradient():
    literal = tiny()
    d = literal.networks["D"]
    starts = {key: p.detach().clone() for key, p in d.named_parameters()}
    optimiser, seen = literal.optimisers["D"], []
    original = optimiser.step

    def noted():
        if not seen:
            seen.append({key: p.grad.clone() for key, p in d.named_parameters()})
            original()
            seen.append({key: p.detach().clone() for key, p in d.named_parameters()})
        else:
            original()

    optimiser.step = noted
    literal.step(*batch())
    for key, start in starts.items():
        slope = seen[0][key] + 1e-4 * start
        expected = start - 1e-4 * slope / (slope.abs() + 1e-8)
        torch.testing.assert_close(seen[1][key], expected, rtol=1e-12, atol=1e-14)


def test_averages_follow_by_a_thousandth_and_hold_no_discriminator():
    literal = tiny()
    before = {name: list(map(torch.clone, net.parameters())) for name, net in literal.averages.items()}
    literal.step(*batch())
    assert set(before) == {"G", "F", "E"}
    for name, starts in before.items():
        now = literal.networks[name].parameters()
        for mean, start, parameter in zip(literal.averages[name].parameters(), starts, now, strict=True):
            expected = 0.999 * start + 0.001 * parameter
            torch.testing.assert_close(mean, expected.detach(), rtol=0, atol=1e-14)


def test_averages_start_from_what_the_networks_were_before_their_initialisation():
    torch.manual_seed(0)
    literal = LiteralStarGAN2(32, 2, 128, 8, latent_dim=3, style_dim=4, hidden_dim=6)
    torch.manual_seed(0)
    plain = Generator(32, 128, 8, 4, 0.0), MappingNetwork(3, 4, 6, 2), StyleEncoder(32, 128, 8, 4, 2)
    for name, network in zip("GFE", plain, strict=True):
        for key, value in network.state_dict().items():
            assert literal.averages[name].state_dict()[key].equal(value), (name, key)
    assert literal.networks["G"].from_rgb.bias.eq(0).all()
    assert literal.averages["G"].from_rgb.bias.ne(0).any()


def test_the_weight_of_diversity_falls_to_nothing_and_stops():
    literal, found = tiny(diversity=2.0, diversity_steps=2), []
    for seed in range(4):
        found.append(literal.diversity)
        literal.step(*batch(seed))
    assert found == [2.0, 1.0, 0.0, 0.0]
