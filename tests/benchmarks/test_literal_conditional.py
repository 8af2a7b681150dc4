"""The literal steps with DivCo's contrast pay the losses they say, move what they should, in their order."""

import pytest
import torch

from benchmarks.literal.conditional import (
    ClassWeights,
    LiteralClassDivCo,
    LiteralPairDivCo,
    PairWeights,
    contrasts,
)
from losses.adversarial import fake_logistic, fool_logistic, real_logistic
from losses.diversity import contrast, latent_regression
from losses.translation import fake_square, fool_square, kl_to_normal, mean_absolute, real_square
from models.conditional import bicycle, dcgan

NEGATIVES = 2


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pooled(body: torch.Tensor) -> torch.Tensor:
    return body.mean((2, 3))


def class_step(**weights: float) -> LiteralClassDivCo:
    torch.manual_seed(0)
    networks = {"G": dcgan.Generator(16, 3, 5, 4).double(), "D": dcgan.Discriminator(16, 3, 4).double()}
    return LiteralClassDivCo(networks, pooled, ClassWeights(**weights))


def class_batch(codes: int = NEGATIVES + 2) -> list[torch.Tensor]:
    labels = torch.tensor([0, 2, 1])
    return [seeded(3, 3, 16, 16).tanh(), labels, seeded(3, 5, seed=1), seeded(codes, 3, 5, seed=2)]


def pair_step(**weights: float) -> LiteralPairDivCo:
    torch.manual_seed(0)
    made = (bicycle.Generator(32, 4, 4), bicycle.Encoder(32, 4, 4))
    judges = (bicycle.Discriminator(32, 4), bicycle.Discriminator(32, 4))
    networks = dict(zip(("G", "E", "D1", "D2"), (*made, *judges), strict=True))
    return LiteralPairDivCo({k: v.double() for k, v in networks.items()}, PairWeights(**weights))


def pair_batch(codes: int = NEGATIVES + 2) -> list[torch.Tensor]:
    pictures = [seeded(2, 3, 32, 32, seed=seed).tanh() for seed in range(3)]
    return [*pictures, seeded(2, 4, seed=3), seeded(codes, 2, 4, seed=4)]


def recorded(literal) -> list[tuple[str, list[torch.Tensor], set[str]]]:
    """Of every optimiser's step: whose, its gradients, and which networks have moved by it."""
    found = []

    def states():
        return {
            name: [p.detach().clone() for p in net.parameters()] for name, net in literal.networks.items()
        }

    for name, optimiser in literal.optimisers.items():
        original = optimiser.step

        def noted(name=name, original=original):
            before = states()
            slopes = [p.grad.clone() for p in literal.networks[name].parameters()]
            original()
            after = states()
            changed = {
                k for k in before if any(not a.equal(b) for a, b in zip(before[k], after[k], strict=True))
            }
            found.append((name, slopes, changed))

        optimiser.step = noted
    return found


def close(found, expected) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_looped_contrast_is_the_loss_meaned(normalise):
    features = seeded(5, 3, 4)
    expected = contrast(features, 0.4, normalise).mean()
    assert contrasts(features.flatten(0, 1), 3, 0.4, normalise).item() == pytest.approx(expected.item())


def test_a_class_step_moves_the_discriminator_and_then_the_generator():
    literal = class_step()
    steps = recorded(literal)
    terms = literal.step(*class_batch())
    assert [(name, changed) for name, _, changed in steps] == [("D", {"D"}), ("G", {"G"})]
    assert set(terms) == {
        "D/real",
        "D/fake",
        "D/fake_query",
        "G/fool",
        "G/fool_query",
        "G/contrast",
    }
    assert all(p.requires_grad for p in literal.networks["D"].parameters())


def test_class_losses_and_gradients_are_those_of_the_losses():
    literal, (x, y, z, codes) = class_step(contrast=0.7, temperature=0.5, rate=1e-14), class_batch()
    g, d = literal.networks["G"], literal.networks["D"]
    made = g(torch.cat([z[None], codes]).flatten(0, 1), y)
    drawn, contrasted = made[:3], made[3:]
    real = real_logistic(d(x, y))
    on_d = 2 * real + fake_logistic(d(drawn.detach(), y)) + fake_logistic(d(contrasted[:3].detach(), y))
    body = d.body(contrasted, y)
    pull = contrast(pooled(body).unflatten(0, (4, 3)), 0.5, True).mean()
    on_g = fool_logistic(d(drawn, y)) + fool_logistic(d.head(body)[:3]) + 0.7 * pull
    expected = [
        torch.autograd.grad(on_d, list(d.parameters()), retain_graph=True),
        torch.autograd.grad(on_g, list(g.parameters())),
    ]
    steps = recorded(literal)
    terms = literal.step(x, y, z, codes)
    for (_, slopes, _), slope in zip(steps, expected, strict=True):
        close(slopes, slope)
    assert terms["G/contrast"].item() == pytest.approx(pull.item(), rel=1e-6)
    assert terms["D/real"].item() == pytest.approx(real.item(), rel=1e-6)


def test_the_generator_is_judged_by_the_discriminator_that_has_stepped():
    still, moving = class_step(rate=1e-14), class_step(rate=0.01)
    first, second = (literal.step(*class_batch()) for literal in (still, moving))
    for term in first:
        same = first[term].item() == pytest.approx(second[term].item(), rel=1e-6)
        assert same == term.startswith("D/"), term


def test_a_pair_step_moves_generator_and_encoder_once_and_then_the_judges():
    literal = pair_step()
    steps = recorded(literal)
    literal.step(*pair_batch())
    assert [(name, changed) for name, _, changed in steps] == [
        ("G", {"G"}),
        ("E", {"E"}),
        ("D1", {"D1"}),
        ("D2", {"D2"}),
    ]
    assert all(p.requires_grad for net in literal.networks.values() for p in net.parameters())


@pytest.mark.parametrize("codes", [1, NEGATIVES + 2])
def test_pair_losses_and_gradients_are_those_of_the_losses(codes):
    literal = pair_step(regression=0.5, contrast=0.9, temperature=0.5)
    a1, b1, b2, noise, drawn = pair_batch(codes)
    g, e, d1, d2 = (literal.networks[name] for name in ("G", "E", "D1", "D2"))
    mean, log_variance = e(b1)
    encoded = g(a1, mean + (0.5 * log_variance).exp() * noise)
    random = g(a1, drawn.flatten(0, 1))
    both = fool_square(d1(encoded)) + fool_square(d2(random[:2]))
    both = both + 10 * mean_absolute(encoded, b1) + 0.01 * kl_to_normal(mean, log_variance)
    read = e(random)[0].unflatten(0, (codes, 2))
    alone = 0.5 * latent_regression(read[0], drawn[0])
    if codes > 1:
        alone = alone + 0.9 * contrast(read, 0.5, True).mean()
    judged = [
        real_square(judge(real)) + fake_square(judge(fake.detach()))
        for judge, real, fake in ((d1, b1, encoded), (d2, b2, random[:2]))
    ]
    expected = [
        torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        # The codes pull on G alone.
        for loss, network in ((both + alone, g), (both, e), (judged[0], d1), (judged[1], d2))
    ]
    steps = recorded(literal)
    terms = literal.step(a1, b1, b2, noise, drawn)
    for (_, slopes, _), slope in zip(steps, expected, strict=True):
        close(slopes, slope)
    assert ("G_alone/contrast" in terms) == (codes > 1)


def test_dropout_masks_reach_both_batches_of_pictures():
    literal, seen = pair_step(), []

    class Noted:
        def parameters(self):
            return literal.networks["G"].parameters()

        def __call__(self, x, z, masks):
            seen.append((len(z), masks))
            return literal.networks["G"](x, z)

    watched = LiteralPairDivCo(dict(literal.networks) | {"G": Noted()}, PairWeights())
    given = [torch.ones(2, 1)], [torch.ones(8, 1)]
    watched.step(*pair_batch(), masks=given)
    assert seen == [(2, given[0]), (8, given[1])]
