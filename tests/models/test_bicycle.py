"""BicycleGAN's networks against the literal ones, in float64, and against the published figures."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.bicycle import Discriminator, Encoder, Generator, dropout_masks
from tests.references import conditional_plain as plain
from tests.references.agreement import agree, unsettled, weights

LATENT, WIDTH = 3, 2


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def drawn(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


def masks_for(generator: Generator, batch: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(batch)
    shapes = [(batch, *shape) for shape in generator.mask_shapes]
    return dropout_masks([torch.rand(shape, generator=rng, dtype=torch.float64) for shape in shapes], 0.5)


@pytest.mark.parametrize(
    ("size", "generator", "encoder", "discriminator"),
    [
        (256, 54_794_627, 2_590_032, 3_458_978),
        (128, 42_145_155, 1_344_080, 830_626),
        (64, 29_495_683, 519_056, 830_626),
    ],
)
def test_parameters_are_as_many_as_published(
    size: int, generator: int, encoder: int, discriminator: int
) -> None:
    with torch.device("meta"):
        assert count(Generator(size)) == generator
        assert count(Encoder(size)) == encoder
        assert count(Discriminator(size)) == discriminator


@pytest.mark.parametrize(("size", "sides"), [(32, (6, 2)), (64, (14, 6)), (128, (30, 14)), (256, (30, 14))])
def test_shapes_at_every_size(size: int, sides: tuple[int, int]) -> None:
    with torch.device("meta"):
        generator, encoder, discriminator = (
            Generator(size, LATENT, 2),
            Encoder(size, LATENT, 2),
            Discriminator(size, 2),
        )
        pictures = generator(torch.zeros(2, 3, size, size), torch.zeros(2, LATENT))
        maps = generator.down(pictures, torch.zeros(2, LATENT))
        mean, log_variance = encoder(pictures)
        logits = discriminator(pictures)
    assert pictures.shape == (2, 3, size, size)
    assert maps[-1].shape == (2, 16, 1, 1)
    assert mean.shape == log_variance.shape == (2, LATENT)
    assert [tuple(logit.shape) for logit in logits] == [(2, 1, side, side) for side in sides]


@pytest.mark.parametrize(("size", "sides"), [(256, [4, 8, 16]), (128, [4, 8]), (64, [4]), (32, [])])
def test_the_middle_blocks_may_be_dropped_out(size: int, sides: list[int]) -> None:
    with torch.device("meta"):
        assert Generator(size).mask_shapes == [(512, side, side) for side in sides]


@pytest.mark.parametrize(("size", "dropped"), [(32, False), (64, True), (64, False), (128, True)])
def test_pictures_and_their_gradients_equal_the_literal_network(size: int, dropped: bool) -> None:
    torch.manual_seed(size)
    generator = Generator(size, LATENT, WIDTH)
    unsettled(generator)
    p, x, z = weights(generator), drawn(2, 3, size, size), drawn(2, LATENT)
    masks = masks_for(generator, 2) if dropped else None
    levels = dict(zip(generator.dropped, masks or [], strict=False))
    theirs = plain.unet(p, x, z, 0, levels)
    agree(generator, p, [generator(x, z, masks)], [theirs], [x, z])


@pytest.mark.parametrize("size", [32, 64, 128])
def test_means_and_log_variances_equal_the_literal_network(size: int) -> None:
    torch.manual_seed(size)
    encoder = Encoder(size, LATENT, WIDTH)
    unsettled(encoder)
    p, x = weights(encoder), drawn(2, 3, size, size)
    agree(encoder, p, encoder(x), plain.gaussian(p, "", x, normalise=True), [x])


@pytest.mark.parametrize(("size", "halvings"), [(64, 2), (256, 3)])
def test_logits_of_both_scales_equal_the_literal_network(size: int, halvings: int) -> None:
    torch.manual_seed(size)
    discriminator = Discriminator(size, WIDTH)
    unsettled(discriminator)
    p, x = weights(discriminator), drawn(1, 3, size, size)
    agree(discriminator, p, discriminator(x), plain.bicycle_discriminator(p, x, halvings), [x])


def test_blocks_of_codes_meet_their_source() -> None:
    torch.manual_seed(0)
    generator = Generator(32, LATENT, WIDTH)
    x, z = drawn(2, 3, 32, 32).float(), drawn(6, LATENT).float()
    together = generator(x, z)
    for k in range(3):
        alone = generator(x, z[2 * k : 2 * k + 2])
        torch.testing.assert_close(together[2 * k : 2 * k + 2], alone, atol=1e-5, rtol=0)


def test_every_level_hears_the_code() -> None:
    torch.manual_seed(0)
    generator = Generator(32, LATENT, WIDTH).double()
    x, z = drawn(1, 3, 32, 32), drawn(1, LATENT)
    for level, conv in enumerate(generator.downs):
        code_weights = conv.weight[:, -LATENT:]
        slope = torch.autograd.grad(generator(x, z).square().sum(), conv.weight)[0][:, -LATENT:]
        assert code_weights.shape == slope.shape
        assert slope.abs().max() > 0, level


def test_masks_keep_what_they_keep_at_double_strength() -> None:
    uniforms = [torch.tensor([0.0, 0.49, 0.5, 0.99])]
    assert dropout_masks(uniforms, 0.5)[0].tolist() == [0.0, 0.0, 2.0, 2.0]
    assert dropout_masks(uniforms, 0.0)[0].tolist() == [1.0, 1.0, 1.0, 1.0]


def test_masks_of_one_change_nothing_and_others_do() -> None:
    torch.manual_seed(0)
    generator = Generator(64, LATENT, WIDTH).double()
    x, z = drawn(1, 3, 64, 64), drawn(1, LATENT)
    ones = [torch.ones(1, *shape, dtype=torch.float64) for shape in generator.mask_shapes]
    without = generator(x, z)
    assert torch.equal(generator(x, z, ones), without)
    assert not torch.equal(generator(x, z, masks_for(generator, 1)), without)


def test_networks_draw_nothing_in_training() -> None:
    networks = Generator(64, LATENT, WIDTH), Encoder(64, LATENT, WIDTH), Discriminator(64, WIDTH)
    generator, encoder, discriminator = networks
    state = torch.get_rng_state()
    pictures = generator.train()(drawn(2, 3, 64, 64).float(), drawn(2, LATENT).float())
    encoder.train()(pictures)
    discriminator.train()(pictures)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_start_from_xavier_of_a_fiftieth_and_biases_from_nothing() -> None:
    torch.manual_seed(0)
    for network in (Generator(64, 8, 8), Encoder(64, 8, 16), Discriminator(64, 16)):
        assert initialised(network, "bicycle") is network
        for value in network.state_dict().values():
            if value.dim() == 1:
                assert torch.equal(value, torch.zeros_like(value))
                continue
            fans = value[0, 0].numel() * (value.shape[0] + value.shape[1])
            expected = 0.02 * math.sqrt(2 / fans)
            assert float(value.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * value.numel()))
            assert float(value.mean()) == pytest.approx(0.0, abs=5 * expected / math.sqrt(value.numel()))


@pytest.mark.parametrize("size", [16, 48, 216])
def test_sides_that_do_not_fit_are_refused(size: int) -> None:
    for network in (Generator, Encoder, Discriminator):
        with pytest.raises(ValueError, match=f"power of two from 32 px, not {size}"):
            network(size, width=2)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="has half the width: 5 is odd"):
        Discriminator(64, 5)
    generator = Generator(64, LATENT, WIDTH).double()
    x = drawn(2, 3, 64, 64)
    with pytest.raises(ValueError, match="3 codes are not the same number for each of 2 conditions"):
        generator(x, drawn(3, LATENT))
    with pytest.raises(ValueError, match="2 dropout masks were given where 1 are used"):
        generator(x, drawn(2, LATENT), [x, x])
