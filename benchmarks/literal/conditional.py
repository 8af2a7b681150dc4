"""The steps of DCGAN and BicycleGAN with DivCo's contrast, written out plainly in their corrected order.

`B` batch, `N` negatives, `K` codes of one condition: 1 (no contrast) or N + 2, query, positive and negatives
in this order; `Z` dimension of a latent. Corrected, not as released: there BicycleGAN's contrast is computed
and never differentiated, and DCGAN's goes through a discriminator that has already stepped.

The networks are the caller's: DCGAN's G(z, y), D.body(x, y), D.head(body); BicycleGAN's G(x, z, masks),
E(x) -> mean and log-variance, D(x) -> maps of logits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class ClassWeights:
    """Numbers of the class-conditional setting; the contrast is a mean over the batch (32 x as released)."""

    contrast: float = 1.0
    temperature: float = 1.0
    normalise: bool = True
    rate: float = 2e-4
    decay: float = 1e-4


@dataclass(frozen=True)
class PairWeights:
    """Numbers of the paired setting; `regression` is 0.5 in BicycleGAN and off in DivCo."""

    pixels: float = 10.0
    divergence: float = 0.01
    regression: float = 0.0
    contrast: float = 0.3
    temperature: float = 1.0
    normalise: bool = True
    rate: float = 2e-4


def contrasts(features: Tensor, batch: int, temperature: float, normalise: bool) -> Tensor:
    """features [K B, F], block after block: sample by sample, negative by negative, meaned. Scalar."""
    if normalise:
        features = features / features.norm(dim=1, keepdim=True)
    losses = []
    for sample in range(batch):
        query, *others = features[sample::batch]
        logits = torch.stack([torch.dot(query, other) for other in others]) / temperature
        losses.append(F.cross_entropy(logits[None], torch.zeros(1, dtype=torch.long, device=logits.device)))
    return sum(losses[1:], losses[0]) / batch


def against(logits: Tensor, target: float) -> Tensor:
    """Cross-entropy of the sigmoid, as DCGAN has it. Scalar."""
    return F.binary_cross_entropy(torch.sigmoid(logits), torch.full_like(logits, target))


def square(scales: Sequence[Tensor], target: float) -> Tensor:
    """Least squares: mean per scale, summed over scales. Scalar."""
    losses = [F.mse_loss(logits, torch.full_like(logits, target)) for logits in scales]
    return sum(losses[1:], losses[0])


def frozen(network: nn.Module, still: bool) -> None:
    """Gradients of its parameters off, or on again."""
    for parameter in network.parameters():
        parameter.requires_grad_(not still)


class LiteralClassDivCo:
    """DCGAN's step: D against two made batches, then G against D as it now is."""

    def __init__(
        self, networks: Mapping[str, Any], features: Callable[[Tensor], Tensor], weights: ClassWeights
    ) -> None:
        """networks: G and D. features: D's body [K B, C, 4, 4] -> [K B, F]."""
        self.networks, self.features, self.weights = networks, features, weights
        self.optimisers = {
            name: torch.optim.Adam(
                networks[name].parameters(),
                lr=weights.rate,
                betas=(0.5, 0.999),
                weight_decay=weights.decay,
                foreach=False,
            )
            for name in ("G", "D")
        }

    def step(self, x: Tensor, y: Tensor, z: Tensor, codes: Tensor) -> Terms:
        """x [B, 3, S, S], y [B], z [B, Z], codes [K, B, Z]. Returns the raw terms, "D/real" and so on.

        All codes are one batch of G, since batch norm couples them as in the release. D judges the real
        batch, the random and the query each by themselves; in G's step all K blocks at once.
        """
        g, d = self.networks["G"], self.networks["D"]
        count = len(x)
        made = g(torch.cat([z, *codes]), torch.cat([y] * (1 + len(codes))))
        drawn, contrasted = made[:count], made[count:]

        real = against(d.head(d.body(x, y)), 1)
        fake = against(d.head(d.body(drawn.detach(), y)), 0)
        fake_query = against(d.head(d.body(contrasted[:count].detach(), y)), 0)
        self.optimisers["D"].zero_grad()
        # Two losses of D, each with the real batch.
        ((real + fake) + (real + fake_query)).backward()  # type: ignore[no-untyped-call]
        self.optimisers["D"].step()

        frozen(d, True)
        fool = against(d.head(d.body(drawn, y)), 1)
        body = d.body(contrasted, torch.cat([y] * len(codes)))
        fool_query = against(d.head(body[:count]), 1)
        found = {"fool": fool, "fool_query": fool_query}
        loss = fool + fool_query
        if len(codes) > 1:
            weights = self.weights
            found["contrast"] = contrasts(self.features(body), count, weights.temperature, weights.normalise)
            loss = loss + weights.contrast * found["contrast"]
        self.optimisers["G"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["G"].step()
        frozen(d, False)
        return named("D", real=real, fake=fake, fake_query=fake_query) | named("G", **found)


class LiteralPairDivCo:
    """BicycleGAN's step: G and E by two backward passes and one step, then both discriminators."""

    def __init__(self, networks: Mapping[str, Any], weights: PairWeights) -> None:
        """networks: G, E, D1 (judges encoded pictures) and D2 (random ones)."""
        self.networks, self.weights = networks, weights
        self.optimisers = {
            name: torch.optim.Adam(
                networks[name].parameters(), lr=weights.rate, betas=(0.5, 0.999), foreach=False
            )
            for name in ("G", "E", "D1", "D2")
        }

    def step(
        self,
        a1: Tensor,
        b1: Tensor,
        b2: Tensor,
        noise: Tensor,
        codes: Tensor,
        masks: tuple[Sequence[Tensor] | None, Sequence[Tensor] | None] = (None, None),
    ) -> Terms:
        """a1, b1 [B, 3, S, S] pairs, b2 other real pictures, noise [B, Z] of E, codes [K, B, Z].

        masks: dropout of the encoded pictures and of the K B random ones. Returns the raw terms.
        """
        g, e, d1, d2 = (self.networks[name] for name in ("G", "E", "D1", "D2"))
        count, weights = len(a1), self.weights
        mean, log_variance = e(b1)
        encoded = g(a1, mean + torch.exp(log_variance / 2) * noise, masks[0])
        random = g(torch.cat([a1] * len(codes)), torch.cat(list(codes)), masks[1])

        for network in (d1, d2):
            frozen(network, True)
        fool, fool_random = square(d1(encoded), 1), square(d2(random[:count]), 1)
        pixels = (encoded - b1).abs().mean()
        divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
        for name in ("G", "E"):
            self.optimisers[name].zero_grad()
        loss = fool + fool_random + weights.pixels * pixels + weights.divergence * divergence
        loss.backward(retain_graph=True)
        found = named("G", fool=fool, fool_random=fool_random, pixels=pixels, divergence=divergence)
        found |= self._alone(random, codes)
        for name in ("G", "E"):
            self.optimisers[name].step()
        for network in (d1, d2):
            frozen(network, False)
        found |= self._judge("D1", b1, encoded.detach())
        return found | self._judge("D2", b2, random[:count].detach())

    def _alone(self, random: Tensor, codes: Tensor) -> Terms:
        """What the codes pull on G with E held still."""
        e, weights = self.networks["E"], self.weights
        frozen(e, True)
        read = e(random)[0]
        count = codes.shape[1]
        terms = {"regression": (read[:count] - codes[0]).abs().mean()}
        loss = weights.regression * terms["regression"]
        if len(codes) > 1:
            terms["contrast"] = contrasts(read, count, weights.temperature, weights.normalise)
            loss = loss + weights.contrast * terms["contrast"]
        loss.backward()
        frozen(e, False)
        return named("G_alone", **terms)

    def _judge(self, name: str, real: Tensor, fake: Tensor) -> Terms:
        """One discriminator's step, without a factor 1/2."""
        judge = self.networks[name]
        on_fake, on_real = square(judge(fake), 0), square(judge(real), 1)
        self.optimisers[name].zero_grad()
        (on_fake + on_real).backward()  # type: ignore[no-untyped-call]
        self.optimisers[name].step()
        return named(name, real=on_real, fake=on_fake)


def named(label: str, **terms: Tensor) -> Terms:
    """Terms under their pass, without their graphs."""
    return {f"{label}/{name}": value.detach() for name, value in terms.items()}
