"""Ours against a literal reading, in float64: values, and gradients of every parameter by name."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
EXACT, GRADIENT = 1e-10, 1e-8


def unsettled(module: nn.Module) -> nn.Module:
    """In float64, every number away from its first value, so that no zero or one hides a mistake."""
    module.double()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn_like(value)
            value.add_(noise.abs() * 0.5 if name.endswith("running_var") else noise * 0.1)
    return module


def weights(module: nn.Module) -> Weights:
    """The state dict, copied; parameters require gradients."""
    trained = dict(module.named_parameters())
    return {k: v.detach().clone().requires_grad_(k in trained) for k, v in module.state_dict().items()}


def equal(ours: Tensor, theirs: Tensor, tolerance: float = EXACT) -> None:
    assert ours.shape == theirs.shape
    apart = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)
    assert apart < tolerance, f"apart by {float(apart):.1e} of the largest value"


def probed(outputs: Sequence[Tensor]) -> Tensor:
    """One number that depends on every element differently; the same weights for equal shapes."""
    rng = torch.Generator().manual_seed(7)
    return sum(
        (torch.randn(out.shape, generator=rng, dtype=out.dtype) * out).sum() for out in outputs
    ) + torch.zeros(())


def agree(
    module: nn.Module,
    p: Mapping[str, Tensor],
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
    inputs: Sequence[Tensor] = (),
) -> None:
    """Every output; then the gradient of a probe of all outputs with respect to `inputs` and every parameter.

    Biases in front of an instance norm have only rounding for a gradient: the small is measured by the whole.
    """
    for mine, other in zip(ours, theirs, strict=True):
        equal(mine, other)
    names = [name for name, _ in module.named_parameters()]
    left = torch.autograd.grad(
        probed(ours), [*module.parameters(), *inputs], allow_unused=True, materialize_grads=True
    )
    right = torch.autograd.grad(
        probed(theirs), [*(p[name] for name in names), *inputs], allow_unused=True, materialize_grads=True
    )
    whole = max(float(g.abs().max()) for g in right)
    assert whole > 0
    for name, a, b in zip([*names, *("input" for _ in inputs)], left, right, strict=True):
        scale = max(float(b.abs().max()), whole * 1e-4)
        assert float((a - b).abs().max()) < GRADIENT * scale, name
