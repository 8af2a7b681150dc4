"""The class-conditional DCGAN against the literal one, in float64, and against the published figures."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.dcgan import Discriminator, FrozenProjection, Generator
from tests.references import conditional_plain as plain
from tests.references.agreement import agree, equal, unsettled, weights

CLASSES, LATENT, WIDTH = 3, 5, 2


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def pair(size: int, training: bool) -> tuple[Generator, Discriminator]:
    torch.manual_seed(size)
    generator, discriminator = Generator(size, CLASSES, LATENT, WIDTH), Discriminator(size, CLASSES, WIDTH)
    for module in (generator, discriminator):
        unsettled(module).train(training)
    return generator, discriminator


def drawn(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


LABELS = torch.tensor([2, 0, 2, 1])


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        assert count(Generator(32, 10)) == 3_531_395
        assert count(Discriminator(32, 10)) == 2_658_689
        assert sum(value.numel() for value in FrozenProjection(512).buffers()) == 1_048_704


def test_64_px_adds_one_stage_of_1024() -> None:
    with torch.device("meta"):
        generator, discriminator = Generator(64, 10), Discriminator(64, 10)
    shapes = [m.weight.shape[:2] for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert shapes == [(110, 1024), (1024, 512), (512, 256), (256, 128), (128, 3)]
    wide = [m.weight.shape[:2] for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert wide == [(128, 13), (256, 128), (512, 256), (1024, 512), (1, 1024)]
    assert len([m for m in discriminator.modules() if isinstance(m, nn.BatchNorm2d)]) == 3


@pytest.mark.parametrize(("size", "deepest"), [(32, 8), (64, 16), (128, 16), (256, 16)])
def test_shapes_at_every_size(size: int, deepest: int) -> None:
    with torch.device("meta"):
        generator, discriminator = Generator(size, CLASSES, LATENT, 2), Discriminator(size, CLASSES, 2)
        y = torch.zeros(2, dtype=torch.long)
        pictures = generator(torch.zeros(2, LATENT), y)
        features = discriminator.body(pictures, y)
    assert pictures.shape == (2, 3, size, size)
    assert features.shape == (2, deepest, 4, 4)
    assert discriminator.body_width == deepest
    assert discriminator.head(features).shape == (2,)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [16, 32])
def test_pictures_and_their_gradients_equal_the_literal_network(size: int, training: bool) -> None:
    generator, _ = pair(size, training)
    p, z = weights(generator), drawn(4, LATENT)
    theirs = plain.dcgan_generator(p, z, LABELS, CLASSES, training)
    agree(generator, p, [generator(z, LABELS)], [theirs], [z])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [16, 32])
def test_logits_and_their_gradients_equal_the_literal_network(size: int, training: bool) -> None:
    _, discriminator = pair(size, training)
    p, x = weights(discriminator), drawn(4, 3, size, size)
    body = plain.dcgan_body(p, x, LABELS, CLASSES, training)
    logits = plain.conv(body, p, "last").view(-1)
    agree(discriminator, p, [discriminator(x, LABELS)], [logits], [x])


def test_the_discriminator_is_its_head_after_its_body() -> None:
    _, discriminator = pair(32, training=False)
    x = drawn(4, 3, 32, 32)
    features = discriminator.body(x, LABELS)
    assert torch.equal(discriminator(x, LABELS), discriminator.head(features))
    equal(features, plain.dcgan_body(weights(discriminator), x, LABELS, CLASSES, training=False))


def test_labels_are_repeated_for_every_block_of_codes() -> None:
    generator, discriminator = pair(16, training=True)
    z = drawn(12, LATENT)
    pictures = generator(z, LABELS)
    assert torch.equal(pictures, generator(z, LABELS.repeat(3)))
    assert torch.equal(discriminator(pictures, LABELS), discriminator(pictures, LABELS.repeat(3)))


def test_in_training_codes_are_normed_with_their_company_and_in_eval_alone() -> None:
    for training in (True, False):
        generator, _ = pair(16, training)
        z = drawn(4, LATENT)
        alone, together = generator(z[:2], LABELS[:2]), generator(z, LABELS)[:2]
        assert torch.allclose(alone, together, atol=1e-12) != training


def test_a_call_in_training_moves_the_running_statistics_by_a_tenth() -> None:
    generator, _ = pair(16, training=True)
    norm = generator.layers[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    before, z = norm.running_mean.clone(), drawn(4, LATENT)
    generator(z, LABELS)
    x = torch.cat([z, plain.one_hot(LABELS, CLASSES)], 1)[:, :, None, None]
    seen = plain.up(x, weights(generator), "layers.0").mean(dim=(0, 2, 3))
    equal(norm.running_mean, 0.9 * before + 0.1 * seen)
    after = norm.running_mean.clone()
    generator.eval()(z, LABELS)
    assert torch.equal(norm.running_mean, after)


def test_networks_draw_nothing() -> None:
    generator, discriminator = pair(16, training=True)
    state = torch.get_rng_state()
    discriminator(generator(drawn(4, LATENT), LABELS), LABELS)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_frozen_projection_is_one_linear_map_without_parameters() -> None:
    torch.manual_seed(0)
    projection = FrozenProjection(6, 4).double()
    features = drawn(2, 6, 4, 4)
    theirs = features.flatten(1) @ projection.weight.flatten(1).t() + projection.bias
    equal(projection(features), theirs)
    assert list(projection.parameters()) == []
    assert sorted(projection.state_dict()) == ["bias", "weight"]
    assert torch.autograd.grad(projection(features).sum(), features)[0].abs().max() > 0


def test_the_frozen_projection_starts_at_a_fiftieth() -> None:
    torch.manual_seed(0)
    projection = FrozenProjection(64)
    assert float(projection.weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(projection.weight.mean()) == pytest.approx(0.0, abs=2e-4)
    assert projection.bias.abs().max() <= 1 / math.sqrt(64 * 16)


def test_weights_start_from_a_normal_of_a_fiftieth_and_the_rest_at_torchs_default() -> None:
    torch.manual_seed(0)
    for network in (Generator(32, 10, width=32), Discriminator(32, 10, width=32)):
        before = {k: v.clone() for k, v in network.state_dict().items()}
        assert initialised(network, "dcgan") is network
        for name, value in network.state_dict().items():
            if value.dim() < 4:
                assert torch.equal(value, before[name])
                continue
            assert float(value.std()) == pytest.approx(0.02, rel=4 / math.sqrt(2 * value.numel()))
            assert float(value.mean()) == pytest.approx(0.0, abs=0.08 / math.sqrt(value.numel()))


@pytest.mark.parametrize("size", [0, 8, 48, 216])
def test_sides_that_do_not_fit_are_refused(size: int) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match=f"power of two from 16 px, not {size}"):
            network(size, CLASSES, width=2)


def test_codes_that_are_not_whole_blocks_are_refused() -> None:
    generator, _ = pair(16, training=False)
    with pytest.raises(ValueError, match="5 codes are not the same number for each of 4 conditions"):
        generator(drawn(5, LATENT), LABELS)
