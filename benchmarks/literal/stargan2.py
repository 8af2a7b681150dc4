"""The released iteration of StarGAN v2, in its published order and with all its passes.

`B` batch, `S` side. Pictures [B, 3, S, S] in [-1, 1], domains [B], latents [B, 16]. Every picture is encoded
and judged anew wherever the release does so, graphs are built that are thrown away, and gradients reach
networks that do not step: this is what our step is checked and timed against.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.literal.stargan2_networks import (
    Discriminator,
    Generator,
    MappingNetwork,
    Masks,
    StyleEncoder,
    he_init,
)

MasksOf = Callable[[Tensor], Masks]


@dataclass(frozen=True)
class Weights:
    """The released numbers; `diversity` is 2 for animals."""

    penalty: float = 1.0
    style: float = 1.0
    diversity: float = 1.0
    cycle: float = 1.0
    diversity_steps: int = 100_000
    rate: float = 1e-4
    mapping_rate: float = 1e-6
    betas: tuple[float, float] = (0.0, 0.99)
    decay: float = 1e-4
    average: float = 0.999


def against(logits: Tensor, target: int) -> Tensor:
    """Mean cross-entropy of the logits to 0 or 1. Scalar."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, fill_value=target))


def r1(logits: Tensor, x: Tensor) -> Tensor:
    """Half the squared norm of each picture's gradient, meaned over the batch; keeps its graph. Scalar."""
    slope = torch.autograd.grad(logits.sum(), x, create_graph=True, retain_graph=True, only_inputs=True)[0]
    return 0.5 * slope.pow(2).reshape(len(x), -1).sum(1).mean(0)


class LiteralStarGAN2:
    """Four networks, their averages and optimisers, and `step`.

    `networks` and `averages` hold them as G, F (mapping), E (style encoder) and D, the averages without D.
    As released the averages start from torch's default values, which the networks had before He's; load the
    same states into both where that is not wanted.
    masks_of_x, masks_of_fake: two masks of pictures, for a high pass above 0; called on the sources once an
    iteration, and on the made pictures twice.
    calls, backwards: how often each network was run, and how often a gradient came back through one of its
    runs, R1's own pass counted too; "masks" are counted over both callables.
    """

    def __init__(
        self,
        size: int,
        domains: int,
        base: int = 2**14,
        widest: int = 512,
        high_pass: float = 0.0,
        *,
        latent_dim: int = 16,
        style_dim: int = 64,
        hidden_dim: int = 512,
        weights: Weights | None = None,
        masks_of_x: MasksOf | None = None,
        masks_of_fake: MasksOf | None = None,
    ) -> None:
        if high_pass == 0 and not (masks_of_x is None and masks_of_fake is None):
            raise ValueError("a generator without a high pass has no use for masks")
        self.networks: dict[str, nn.Module] = {
            "G": Generator(size, base, widest, style_dim, high_pass),
            "F": MappingNetwork(latent_dim, style_dim, hidden_dim, domains),
            "E": StyleEncoder(size, base, widest, style_dim, domains),
            "D": Discriminator(size, base, widest, domains),
        }
        self.averages = {name: copy.deepcopy(self.networks[name]) for name in "GFE"}
        for network in self.networks.values():
            network.apply(he_init)
        self.weights = weights or Weights()
        self.diversity = self.weights.diversity
        self.masks_of_x, self.masks_of_fake = masks_of_x, masks_of_fake
        self.optimisers = {name: self._adam(name) for name in self.networks}
        self.calls: Counter[str] = Counter()
        self.backwards: Counter[str] = Counter()

    def _adam(self, name: str) -> torch.optim.Adam:
        given = self.weights
        rate = given.mapping_rate if name == "F" else given.rate
        parameters = self.networks[name].parameters()
        return torch.optim.Adam(
            parameters, lr=rate, betas=given.betas, weight_decay=given.decay, foreach=False
        )

    def to(self, where: torch.device | torch.dtype) -> "LiteralStarGAN2":
        """All networks on a device or in a precision; before the first step."""
        for network in (*self.networks.values(), *self.averages.values()):
            network.to(where)
        return self

    def _run(self, name: str, *given: Tensor | Masks | None) -> Tensor:
        out: Tensor = self.networks[name](*given)
        self.calls[name] += 1
        if out.requires_grad:
            out.register_hook(lambda slope: self.backwards.update([name]))  # type: ignore[no-untyped-call]
        return out

    @torch.no_grad()
    def _masks(self, masks_of: MasksOf | None, pictures: Tensor) -> Masks | None:
        if masks_of is None:
            return None
        self.calls["masks"] += 1
        return masks_of(pictures)

    def step(
        self, x: Tensor, y: Tensor, x_ref: Tensor, x_ref2: Tensor, y_trg: Tensor, z: Tensor, z2: Tensor
    ) -> dict[str, Tensor]:
        """One iteration. Returns the raw terms, "D_latent/real" and so on, before their weights.

        D_latent, D_reference: real, fake, r1 (half the squared norm). G_latent, G_reference: fool, style,
        diversity (the mean gap, which the loss has with a minus) and cycle.
        """
        # Marked for R1 and left so: the passes of G carry gradients to it that nobody reads.
        x = x.detach().clone().requires_grad_()
        masks = self._masks(self.masks_of_x, x)
        terms: dict[str, Tensor] = {}
        for label, code in (
            ("latent", lambda: self._run("F", z, y_trg)),
            ("reference", lambda: self._run("E", x_ref, y_trg)),
        ):
            terms |= self._judge(f"D_{label}", x, y, y_trg, code, masks)
        codes = (lambda: self._run("F", z, y_trg)), (lambda: self._run("F", z2, y_trg))
        terms |= self._draw("G_latent", x, y, y_trg, codes, masks, "GFE")
        codes = (lambda: self._run("E", x_ref, y_trg)), (lambda: self._run("E", x_ref2, y_trg))
        # E too has gradients here, and is not moved by them: the authors found that it hurts.
        terms |= self._draw("G_reference", x, y, y_trg, codes, masks, "G")
        self._follow()
        if self.diversity > 0:
            self.diversity -= self.weights.diversity / self.weights.diversity_steps
        return terms

    def _judge(
        self, label: str, x: Tensor, y: Tensor, y_trg: Tensor, code: Callable[[], Tensor], masks: Masks | None
    ) -> dict[str, Tensor]:
        """D's pass against pictures of one kind of code."""
        logits = self._run("D", x, y)
        real, penalty = against(logits, 1), r1(logits, x)
        with torch.no_grad():
            made = self._run("G", x, code(), masks)
        fake = against(self._run("D", made, y_trg), 0)
        self._move(real + fake + self.weights.penalty * penalty, "D")
        return named(label, real=real, fake=fake, r1=penalty)

    def _draw(
        self,
        label: str,
        x: Tensor,
        y: Tensor,
        y_trg: Tensor,
        codes: tuple[Callable[[], Tensor], Callable[[], Tensor]],
        masks: Masks | None,
        trained: str,
    ) -> dict[str, Tensor]:
        """G's pass with one kind of code."""
        s = codes[0]()
        made = self._run("G", x, s, masks)
        fool = against(self._run("D", made, y_trg), 1)
        style = torch.mean(torch.abs(self._run("E", made, y_trg) - s))
        other = self._run("G", x, codes[1](), masks).detach()
        diversity = torch.mean(torch.abs(made - other))
        own_masks = self._masks(self.masks_of_fake, made)
        back = self._run("G", made, self._run("E", x, y), own_masks)
        cycle = torch.mean(torch.abs(back - x))
        weights = self.weights
        loss = fool + weights.style * style - self.diversity * diversity + weights.cycle * cycle
        self._move(loss, trained)
        return named(label, fool=fool, style=style, diversity=diversity, cycle=cycle)

    def _move(self, loss: Tensor, trained: str) -> None:
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for name in trained:
            self.optimisers[name].step()

    @torch.no_grad()
    def _follow(self) -> None:
        for name, average in self.averages.items():
            now = self.networks[name].parameters()
            for mean, parameter in zip(average.parameters(), now, strict=True):
                mean.copy_(torch.lerp(parameter, mean, self.weights.average))


def named(label: str, **terms: Tensor) -> dict[str, Tensor]:
    """Terms under their pass, without their graphs."""
    return {f"{label}/{name}": value.detach() for name, value in terms.items()}
