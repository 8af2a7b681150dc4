"""DRIT's networks against the literal ones, in float64, and against the published figures."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.drit import (
    ConcatGenerator,
    ContentDiscriminator,
    ContentEncoder,
    FeaturewiseGenerator,
    ImageDiscriminator,
    PlainAttributeEncoder,
    VariationalAttributeEncoder,
)
from tests.references import conditional_plain as plain
from tests.references.agreement import agree, unsettled, weights

LATENT, WIDTH = 3, 2
CONTENT = 4 * WIDTH


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def drawn(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        assert count(ContentEncoder(216)) == 9_018_112
        assert count(VariationalAttributeEncoder(216)) == 2_688_160
        assert count(PlainAttributeEncoder(216)) == 5_529_872
        assert count(ConcatGenerator()) == 9_564_710
        assert count(FeaturewiseGenerator()) == 17_146_374
        assert count(ImageDiscriminator(216)) == 8_271_171
        assert count(ContentDiscriminator(216)) == count(ContentDiscriminator(256)) == 10_683_649


@pytest.mark.parametrize(
    ("size", "sides", "logits"),
    [
        (32, [2, 1], 1),
        (64, [4, 2, 1], 1),
        (128, [8, 4, 2], 1),
        (216, [13, 6, 3], 1),
        (256, [16, 8, 4], 2),
        (40, [2, 1], 2),
    ],
)
def test_shapes_at_every_size(size: int, sides: list[int], logits: int) -> None:
    with torch.device("meta"):
        x, z = torch.zeros(2, 3, size, size), torch.zeros(2, LATENT)
        encoder = ContentEncoder(size, WIDTH)
        content = encoder(x, 0)
        pictures = ConcatGenerator(LATENT, WIDTH)(content, z, 1)
        others = FeaturewiseGenerator(LATENT, WIDTH)(content, z, 1)
        mean, log_variance = VariationalAttributeEncoder(size, LATENT, WIDTH)(x, 1)
        code = PlainAttributeEncoder(size, LATENT, WIDTH)(x, 1)
        maps = ImageDiscriminator(size, WIDTH)(x)
        told = ContentDiscriminator(size, WIDTH)(content)
    assert encoder.content_shape == content.shape[1:] == (CONTENT, size // 4, size // 4)
    assert pictures.shape == others.shape == x.shape
    assert mean.shape == log_variance.shape == code.shape == z.shape
    assert [tuple(m.shape) for m in maps] == [(2, 1, side, side) for side in sides]
    assert told.shape == (2, 1, logits, logits)


@pytest.mark.parametrize("domain", [0, 1])
def test_contents_and_their_gradients_equal_the_literal_network(domain: int) -> None:
    torch.manual_seed(domain)
    encoder = ContentEncoder(32, WIDTH)
    unsettled(encoder)
    p, x = weights(encoder), drawn(2, 3, 32, 32)
    agree(encoder, p, [encoder(x, domain)], [plain.drit_content(p, x, domain)], [x])


def test_noise_is_added_to_the_content_as_given() -> None:
    encoder = ContentEncoder(32, WIDTH).double()
    x, noise = drawn(2, 3, 32, 32), drawn(2, CONTENT, 8, 8)
    assert torch.equal(encoder(x, 1, noise), encoder(x, 1) + noise)
    assert torch.equal(encoder.train()(x, 1), encoder.eval()(x, 1))


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("size", [32, 44])
def test_codes_and_their_gradients_equal_the_literal_networks(size: int, domain: int) -> None:
    torch.manual_seed(domain)
    x = drawn(2, 3, size, size)
    variational, single = (
        VariationalAttributeEncoder(size, LATENT, WIDTH),
        PlainAttributeEncoder(size, LATENT, WIDTH),
    )
    unsettled(variational)
    p = weights(variational)
    theirs = plain.gaussian(p, f"own.{domain}.", x, normalise=False)
    agree(variational, p, variational(x, domain), theirs, [x])
    unsettled(single)
    p = weights(single)
    agree(single, p, [single(x, domain)], [plain.drit_plain_attributes(p, x, domain)], [x])


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("codes", [1, 3])
def test_pictures_of_many_codes_for_a_content_equal_the_literal_networks(codes: int, domain: int) -> None:
    torch.manual_seed(domain)
    content, z = drawn(2, CONTENT, 4, 4), drawn(2 * codes, LATENT)
    concat, featurewise = ConcatGenerator(LATENT, WIDTH), FeaturewiseGenerator(LATENT, WIDTH)
    unsettled(concat)
    unsettled(featurewise)
    repeats = torch.cat([content] * codes)
    p = weights(concat)
    agree(concat, p, [concat(content, z, domain)], [plain.drit_concat(p, repeats, z, domain)], [content, z])
    p = weights(featurewise)
    theirs = plain.drit_featurewise(p, repeats, z, domain)
    agree(featurewise, p, [featurewise(content, z, domain)], [theirs], [content, z])


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (36, 2), (64, 3)])
def test_logits_of_every_scale_equal_the_literal_network(size: int, scales: int) -> None:
    torch.manual_seed(size)
    discriminator = ImageDiscriminator(size, WIDTH)
    unsettled(discriminator)
    p, x = weights(discriminator), drawn(2, 3, size, size)
    agree(discriminator, p, discriminator(x), plain.drit_images(p, x, scales), [x])


@pytest.mark.parametrize(("side", "kernels"), [(8, [3]), (16, [3, 3]), (32, [3, 3, 3]), (54, [7, 7, 7])])
def test_contents_are_told_apart_as_by_the_literal_network(side: int, kernels: list[int]) -> None:
    torch.manual_seed(side)
    discriminator = ContentDiscriminator(4 * side, 1)
    unsettled(discriminator)
    halvings = list(range(0, 2 * len(kernels), 2))
    p, content = weights(discriminator), drawn(2, 4, side, side)
    assert [p[f"layers.{i}.weight"].shape[-1] for i in halvings] == kernels
    agree(discriminator, p, [discriminator(content)], [plain.drit_contents(p, content, halvings)], [content])


@pytest.mark.parametrize(("size", "kernel"), [(208, 3), (212, 7)])
def test_the_published_content_discriminator_is_taken_wherever_it_fits(size: int, kernel: int) -> None:
    with torch.device("meta"):
        discriminator = ContentDiscriminator(size, 1)
        logits = discriminator(torch.zeros(1, 4, size // 4, size // 4))
    first = discriminator.layers[0]
    assert isinstance(first, nn.Conv2d)
    assert first.kernel_size == (kernel, kernel)
    assert logits.numel() >= 1


def test_no_discriminator_has_a_norm() -> None:
    with torch.device("meta"):
        networks = ImageDiscriminator(256), ContentDiscriminator(256)
    for network in networks:
        leaves = {type(part) for part in network.modules() if not list(part.children())}
        assert leaves == {nn.Conv2d, nn.LeakyReLU}


def test_domains_share_the_last_block_of_the_encoder_and_the_first_of_the_concat_generator() -> None:
    torch.manual_seed(0)
    x, z = drawn(1, 3, 32, 32).float(), drawn(1, LATENT).float()
    encoder, generator = ContentEncoder(32, WIDTH), ConcatGenerator(LATENT, WIDTH)
    for domain in (0, 1):
        loss = generator(encoder(x, domain), z, domain).square().sum()
        for network in (encoder, generator):
            pulled = torch.autograd.grad(
                loss, list(network.parameters()), allow_unused=True, retain_graph=True
            )
            names = {
                name
                for (name, _), slope in zip(network.named_parameters(), pulled, strict=True)
                if slope is not None
            }
            expected = {n for n, _ in network.named_parameters() if n.startswith(("shared", f"own.{domain}"))}
            assert names == expected


def test_networks_draw_nothing_in_training() -> None:
    networks = [
        ContentEncoder(32, WIDTH),
        VariationalAttributeEncoder(32, LATENT, WIDTH),
        PlainAttributeEncoder(32, LATENT, WIDTH),
    ]
    x = drawn(1, 3, 32, 32).float()
    state = torch.get_rng_state()
    for network in networks:
        network.train()(x, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_convolutions_start_from_a_normal_of_a_fiftieth_and_the_rest_at_torchs_default() -> None:
    torch.manual_seed(0)
    networks = [
        ContentEncoder(32, 8),
        VariationalAttributeEncoder(32, 8, 8),
        PlainAttributeEncoder(32, 8, 8),
        ConcatGenerator(8, 8),
        FeaturewiseGenerator(8, 8),
        ImageDiscriminator(32, 8),
        ContentDiscriminator(32, 8),
    ]
    for network in networks:
        before = {k: v.clone() for k, v in network.state_dict().items()}
        assert initialised(network, "drit") is network
        for name, value in network.state_dict().items():
            if value.dim() < 4:
                assert torch.equal(value, before[name])
                continue
            assert float(value.std()) == pytest.approx(0.02, rel=5 / math.sqrt(2 * value.numel()))
            assert float(value.mean()) == pytest.approx(0.0, abs=0.1 / math.sqrt(value.numel()))


@pytest.mark.parametrize("size", [28, 54, 217])
def test_sides_that_do_not_fit_are_refused(size: int) -> None:
    networks = (
        ContentEncoder,
        VariationalAttributeEncoder,
        PlainAttributeEncoder,
        ImageDiscriminator,
        ContentDiscriminator,
    )
    for network in networks:
        with pytest.raises(ValueError, match=f"multiple of 4 from 32 px, not {size}"):
            network(size, width=2)


def test_codes_that_are_not_whole_blocks_are_refused() -> None:
    for generator in (ConcatGenerator(LATENT, WIDTH), FeaturewiseGenerator(LATENT, WIDTH)):
        with pytest.raises(ValueError, match="3 codes are not the same number for each of 2 conditions"):
            generator.double()(drawn(2, CONTENT, 4, 4), drawn(3, LATENT), 0)
