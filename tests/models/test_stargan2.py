"""StarGAN v2 against its literal reading, in float64: values, gradients, and second derivatives where R1 needs them."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stargan2 import Discriminator, Generator, Layout, MappingNetwork, StyleEncoder, he_initialised
from models.stargan2.layers import pooled_kernel, raised_kernel
from tests.references import stargan2_plain as plain

PLAIN32 = Layout(32, 2, style_dim=5, latent_dim=3, hidden_dim=6, base=2**8, widest=32)
SKIP32 = Layout(32, 3, style_dim=5, latent_dim=3, hidden_dim=6, base=2**8, widest=16, high_pass=2.0)
PLAIN64 = Layout(64, 3, style_dim=4, latent_dim=3, hidden_dim=6, base=2**8, widest=6)
SKIP64 = Layout(64, 2, style_dim=4, latent_dim=3, hidden_dim=6, base=2**9, widest=16, high_pass=0.5)
LAYOUTS = [PLAIN32, SKIP32, PLAIN64, SKIP64]
FORMS = [False, True]
EXACT, GRADIENT = 1e-10, 1e-8

Weights = dict[str, Tensor]


def named(layout: Layout) -> str:
    return f"{layout.size}px-{layout.domains}-high_pass{layout.high_pass:g}"


def made(module: nn.Module) -> nn.Module:
    """In float64, nothing at its first value: biases and norms at 0 and 1 would hide a mistake."""
    torch.manual_seed(7)
    he_initialised(module).double()
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
        if ".fc." in name:
            parameter.data.mul_(0.3)
    return module


def weights(module: nn.Module) -> Weights:
    """The state dict, copied; parameters require gradients."""
    trained = dict(module.named_parameters())
    return {k: v.detach().clone().requires_grad_(k in trained) for k, v in module.state_dict().items()}


def drawn(layout: Layout, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, styles, labels."""
    rng = torch.Generator().manual_seed(layout.size)
    x = torch.randn(batch, 3, layout.size, layout.size, generator=rng, dtype=torch.float64)
    s = torch.randn(batch, layout.style_dim, generator=rng, dtype=torch.float64)
    return x, s, torch.tensor([layout.domains - 1, 0, layout.domains - 1])[:batch]


def masked(batch: int = 3) -> tuple[Tensor, Tensor]:
    """Two masks of a side that has to be resized for every skip."""
    rng = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, batch, 1, 48, 48, generator=rng, dtype=torch.float64)
    return first, second


def equal(ours: Tensor, theirs: Tensor, tolerance: float = EXACT) -> None:
    assert ours.shape == theirs.shape
    apart = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)
    assert apart < tolerance, f"apart by {apart:.1e} of the largest value"


def gradients_equal(module: nn.Module, ours: Tensor, p: Weights, theirs: Tensor) -> None:
    """Of a loss with respect to every parameter, by name."""
    names = [name for name, _ in module.named_parameters()]
    mine = torch.autograd.grad(ours, list(module.parameters()), retain_graph=True, materialize_grads=True)
    other = torch.autograd.grad(theirs, [p[n] for n in names], retain_graph=True, materialize_grads=True)
    whole = max(float(g.abs().max()) for g in other)
    for name, a, b in zip(names, mine, other, strict=True):
        scale = max(float(b.abs().max()), whole * 1e-6)
        assert float((a - b).abs().max()) < GRADIENT * scale, name


def squares(x: Tensor) -> Tensor:
    """A scalar that weighs every entry differently."""
    return (x.flatten() * torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype)).square().mean()


@pytest.mark.parametrize("folded", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=named)
def test_pictures_and_their_gradients_equal_the_literal_generator(layout: Layout, folded: bool) -> None:
    generator = made(Generator(layout, folded))
    x, s, _ = drawn(layout, 2)
    x.requires_grad_()
    s.requires_grad_()
    for masks in (None, masked(2)) if layout.high_pass else (None,):
        p = weights(generator)
        ours, theirs = generator(x, s, masks), plain.generator(x, s, p, masks)
        equal(ours, theirs)
        gradients_equal(generator, squares(ours), p, squares(theirs))
        mine = torch.autograd.grad(squares(ours), [x, s])
        for a, b in zip(mine, torch.autograd.grad(squares(theirs), [x, s]), strict=True):
            equal(a, b, GRADIENT)


@pytest.mark.parametrize("layout", [PLAIN32, SKIP32], ids=named)
def test_styles_and_their_gradients_equal_the_literal_mapping(layout: Layout) -> None:
    mapping = made(MappingNetwork(layout))
    z = torch.randn(3, layout.latent_dim, dtype=torch.float64)
    _, _, y = drawn(layout)
    p = weights(mapping)
    ours, theirs = mapping(z, y), plain.mapping(z, y, p)
    equal(ours, theirs)
    gradients_equal(mapping, squares(ours), p, squares(theirs))
    assert mapping.all(z).shape == (3, layout.domains, layout.style_dim)


@pytest.mark.parametrize("folded", FORMS)
@pytest.mark.parametrize("layout", [PLAIN32, PLAIN64], ids=named)
def test_styles_and_their_gradients_equal_the_literal_style_encoder(layout: Layout, folded: bool) -> None:
    encoder = made(StyleEncoder(layout, folded))
    x, _, y = drawn(layout)
    p = weights(encoder)
    ours, theirs = encoder(x, y), plain.style_encoder(x, y, p)
    equal(ours, theirs)
    gradients_equal(encoder, squares(ours), p, squares(theirs))
    assert encoder.all(x).shape == (3, layout.domains, layout.style_dim)


@pytest.mark.parametrize("folded", FORMS)
@pytest.mark.parametrize("layout", [PLAIN32, PLAIN64], ids=named)
def test_logits_their_gradients_and_those_of_r1_equal_the_literal_discriminator(
    layout: Layout, folded: bool
) -> None:
    discriminator = made(Discriminator(layout, folded))
    x, _, y = drawn(layout)
    x.requires_grad_()
    p = weights(discriminator)
    ours, theirs = discriminator(x, y), plain.discriminator(x, y, p)
    equal(ours, theirs)
    assert ours.shape == (3,)
    gradients_equal(discriminator, squares(ours), p, squares(theirs))
    penalties = []
    for logits in (ours, theirs):
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        penalties.append(slope.square().sum(dim=(1, 2, 3)).mean())
    equal(penalties[0].detach(), penalties[1].detach())
    gradients_equal(discriminator, penalties[0], p, penalties[1])
    assert discriminator.all(x).shape == (3, layout.domains)


def second_derivative(f: Callable[[Tensor], Tensor], weight: Tensor) -> Tensor:
    """Gradient, in the weight, of the squared gradient of a cube: no term of it vanishes."""
    x = torch.linspace(-1, 1, 2 * 4 * 8 * 8, dtype=torch.float64).sin().reshape(2, 4, 8, 8).requires_grad_()
    (slope,) = torch.autograd.grad((f(x) ** 3).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(slope.square().sum(), weight)
    return found


def test_a_pool_after_and_an_upsampling_before_a_convolution_fold_into_its_kernel() -> None:
    weight = torch.randn(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def pool(x: Tensor) -> Tensor:
        return plain.halved(F.conv2d(x, weight, padding=1))

    def pool_folded(x: Tensor) -> Tensor:
        return F.conv2d(x, pooled_kernel(weight), stride=2, padding=1)

    def rise(x: Tensor) -> Tensor:
        return F.conv2d(plain.doubled(x), weight, padding=1)

    def rise_folded(x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, raised_kernel(weight), stride=2, padding=1)

    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    for literal, folded in ((pool, pool_folded), (rise, rise_folded)):
        equal(folded(x), literal(x))
        equal(second_derivative(folded, weight), second_derivative(literal, weight))


@pytest.mark.parametrize("layout", [PLAIN64, SKIP64], ids=named)
def test_encoding_once_and_decoding_often_equals_separate_passes(layout: Layout) -> None:
    generator = made(Generator(layout))
    x, s, _ = drawn(layout, 2)
    masks = masked(2) if layout.high_pass else None
    encoded = generator.encode(x)
    for factor in (1.0, -2.0):
        equal(generator.decode(encoded, s * factor, masks), generator(x, s * factor, masks), 1e-14)

    styles = torch.cat([s, -s])[[0, 2, 1, 3]]  # two for each picture, in a row
    twice = None if masks is None else (masks[0].repeat_interleave(2, 0), masks[1].repeat_interleave(2, 0))
    many = generator.decode(encoded.repeat(2), styles, twice)
    equal(many, generator(x.repeat_interleave(2, 0), styles, twice))
    swapped = None if masks is None else (masks[0].flip(0), masks[1].flip(0))
    equal(generator.decode(encoded.rows(torch.tensor([1, 0])), s, swapped), generator(x.flip(0), s, swapped))


def test_gradients_of_several_decodes_add_up_in_one_backward_of_the_encoder() -> None:
    generator = made(Generator(SKIP32))
    x, s, _ = drawn(SKIP32, 2)
    parameters = list(generator.parameters())
    encoded = generator.encode(x)
    shared = squares(generator.decode(encoded, s, masked(2))) + squares(
        generator.decode(encoded, -s, masked(2))
    )
    apart = squares(generator(x, s, masked(2))) + squares(generator(x, -s, masked(2)))
    mine = torch.autograd.grad(shared, parameters, materialize_grads=True)
    for a, b in zip(mine, torch.autograd.grad(apart, parameters, materialize_grads=True), strict=True):
        assert float((a - b).abs().max()) < 1e-10


def test_a_detached_encoding_keeps_its_values_and_sends_no_gradient_back() -> None:
    generator = made(Generator(SKIP32))
    x, s, _ = drawn(SKIP32, 2)
    encoded = generator.encode(x)
    cut = encoded.detach()
    assert torch.equal(cut.h, encoded.h)
    assert cut.kept.keys() == encoded.kept.keys() == {32}
    generator.decode(cut, s, masked(2)).sum().backward()
    assert all(p.grad is None for p in generator.encode.parameters())
    assert generator.from_rgb.weight.grad is None


@pytest.mark.parametrize(("layout", "sides"), [(PLAIN64, []), (SKIP32, [32]), (SKIP64, [64, 32])], ids=str)
def test_only_a_high_pass_generator_keeps_what_enters_at_sides_32_64_and_128(
    layout: Layout, sides: list[int]
) -> None:
    generator = made(Generator(layout))
    x, s, _ = drawn(layout, 2)
    encoded = generator.encode(x)
    assert list(encoded.kept) == sides
    assert all(kept.shape[2:] == (side, side) for side, kept in encoded.kept.items())
    assert encoded.h.shape[-1] == (8 if sides else 16)
    if not sides:
        with pytest.raises(ValueError, match="high_pass 0, which has no skip"):
            generator.decode(encoded, s, masked(2))


def test_a_larger_high_pass_weakens_the_skip_and_empty_masks_switch_it_off() -> None:
    generator = made(Generator(SKIP32))
    x, s, _ = drawn(SKIP32, 2)
    bare, whole = generator(x, s), generator(x, s, masked(2))
    none = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(generator(x, s, (none, none)), bare)
    assert not torch.allclose(whole, bare)
    assert torch.equal(
        generator.hpf.filter * 2, torch.tensor([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]).double()
    )


def test_unused_shortcuts_of_a_high_pass_generator_get_no_gradient() -> None:
    generator = made(Generator(SKIP32))
    x, s, _ = drawn(SKIP32, 2)
    generator(x, s, masked(2)).sum().backward()
    without = {name for name, p in generator.named_parameters() if p.grad is None}
    assert without == {"decode.3.conv1x1.weight"}


def test_heads_of_absent_domains_get_a_gradient_of_zero_not_none() -> None:
    mapping, encoder = made(MappingNetwork(PLAIN64)), made(StyleEncoder(PLAIN64))
    x, _, _ = drawn(PLAIN64)
    y = torch.tensor([0, 2, 0])
    mapping(torch.randn(3, 3, dtype=torch.float64), y).sum().backward()
    encoder(x, y).sum().backward()
    for module in (mapping, encoder):
        for k, head in enumerate(module.unshared):
            gradients = [p.grad for p in head.parameters()]
            assert all(g is not None for g in gradients)
            assert any(bool(g.any()) for g in gradients) == (k != 1)


def test_a_copied_generator_is_whole_and_shares_nothing() -> None:
    generator = made(Generator(SKIP32))
    x, s, _ = drawn(SKIP32, 2)
    before = generator(x, s, masked(2))
    twin = copy.deepcopy(generator)
    for p in generator.parameters():
        p.data.zero_()
    generator.hpf.filter.zero_()
    assert torch.equal(twin(x, s, masked(2)), before)


@pytest.mark.parametrize("folded", FORMS)
def test_single_precision_trains_through_every_network(folded: bool) -> None:
    generator, discriminator = Generator(SKIP32, folded), Discriminator(SKIP32, folded)
    mapping, encoder = MappingNetwork(SKIP32), StyleEncoder(SKIP32, folded)
    x, y = torch.randn(2, 3, 32, 32, requires_grad=True), torch.tensor([0, 2])
    masks = (torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32))
    translated = generator(x, mapping(torch.randn(2, 3), y), masks)
    again = generator(translated, encoder(x, y), masks)
    real = discriminator(x, y)
    (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    (discriminator(again, y).sum() + slope.square().sum()).backward()
    for module in (generator, discriminator, mapping, encoder):
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        assert len(grads) >= len(list(module.parameters())) - 1
        assert all(bool(g.isfinite().all()) for g in grads)
