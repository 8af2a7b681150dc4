"""DRIT's iteration written out plainly, with MSGAN's term or DivCo's contrast, every pass of it.

`h` encoded pictures of each domain, `S` side, `Z` dimension of a latent, `C` channels of a content; `N` negatives,
`K` codes of the second phase. Pictures come in two pairs of one domain each, A and B. In the order of the release:
discriminators of pictures, then of contents, E_c, E_a and G by what they encode, E_c and G by random codes. Corrected,
not as released: that last phase draws its own pictures, by networks as they then are.

The networks are the caller's: E_c(x, domain, noise), E_a(x, domain) -> mean and log-variance, or a code alone,
G(content, z, domain), D_A, D_A2, D_B, D_B2 (x) -> maps of logits, D_content(content) -> logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.literal.conditional import Terms, contrasts, frozen, named

ARTISTS = ("E_c", "E_a", "G")
JUDGES = ("D_A", "D_A2", "D_B", "D_B2", "D_content")


@dataclass(frozen=True)
class Weights:
    """Numbers of DRIT's second release, and of DivCo's contrast, a mean over the batch."""

    cycle: float = 10.0
    own: float = 10.0
    divergence: float = 0.01
    squares: float = 0.01
    regression: float = 10.0
    seeking: float = 0.0
    contrast: float = 0.0
    temperature: float = 1.0
    normalise: bool = True
    rate: float = 1e-4
    content_rate: float = 4e-5
    decay: float = 1e-4
    clip: float = 5.0
    steps: int = 100
    fall_from: int = 50


@dataclass(frozen=True)
class Noise:
    """What is drawn: of A and of B, but for the codes, which serve both directions.

    content, content_back, content_again [h, C, S/4, S/4], attributes, attributes_back [h, Z]; guess, guess2 [h, Z]
    are the discriminators' codes; z, z2 [h, Z] those of the second phase, around [N + 1, h, Z] its positive and
    negatives, or none.
    """

    content: Sequence[Tensor]
    attributes: Sequence[Tensor]
    content_back: Sequence[Tensor]
    attributes_back: Sequence[Tensor]
    content_again: Sequence[Tensor]
    guess: Tensor
    guess2: Tensor
    z: Tensor
    z2: Tensor
    around: Sequence[Tensor] = ()


def entropy(scales: Sequence[Tensor], target: float) -> Tensor:
    """Cross-entropy after a sigmoid: mean per scale, summed over scales. Scalar."""
    losses = [F.binary_cross_entropy(torch.sigmoid(x), torch.full_like(x, target)) for x in scales]
    return sum(losses[1:], losses[0])


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference. Scalar."""
    return (a - b).abs().mean()


class LiteralDRIT:
    """Eight networks, their optimisers, and `step`."""

    def __init__(self, networks: Mapping[str, Any], weights: Weights, second_judged: bool = False) -> None:
        """second_judged: discriminators see a second random picture too, as released."""
        self.networks, self.weights, self.second_judged = networks, weights, second_judged
        self.optimisers = {
            name: torch.optim.Adam(
                network.parameters(),
                lr=weights.content_rate if name == "D_content" else weights.rate,
                betas=(0.5, 0.999),
                weight_decay=weights.decay,
                foreach=False,
            )
            for name, network in networks.items()
        }
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(one, self._share) for one in self.optimisers.values()
        ]

    def _share(self, step: int) -> float:
        """How much of the learning rate is in force."""
        weights = self.weights
        return 1 - max(0, step - weights.fall_from) / (weights.steps - weights.fall_from)

    def step(self, x: Sequence[Tensor], other: Sequence[Tensor], noise: Noise, all_of_it: bool) -> Terms:
        """x, other: [h, 3, S, S] of A and of B; `other` is what D_A2 and D_B2 take for real.

        all_of_it: else D_content trains alone. Returns the raw terms, "EG1/cycle" and so on.
        """
        found: Terms = {}
        if all_of_it:
            made = self._forward(x, noise)
            found |= self._judge_images(x, other, made)
        else:
            made = {f"content {d}": self.networks["E_c"](x[d], d, noise.content[d]) for d in (0, 1)}
        found |= self._judge_content(made)
        if all_of_it:
            for name in JUDGES:
                frozen(self.networks[name], True)
            found |= self._by_encoded(x, made)
            frozen(self.networks["E_a"], True)
            found |= self._by_random(x, noise)
            for network in self.networks.values():
                frozen(network, False)
        for schedule in self.schedules:
            schedule.step()
        return found

    def _attributes(self, x: Tensor, domain: int, noise: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        read = self.networks["E_a"](x, domain)
        if isinstance(read, Tensor):
            return read, read, None
        mean, log_variance = read
        return mean + torch.exp(0.5 * log_variance) * noise, mean, log_variance

    def _forward(self, x: Sequence[Tensor], noise: Noise) -> dict[str, Any]:
        """Everything that the discriminators and the first phase look at. Domain 0 is A, 1 is B."""
        e_c, g = self.networks["E_c"], self.networks["G"]
        content_a, content_b = e_c(x[0], 0, noise.content[0]), e_c(x[1], 1, noise.content[1])
        read_a = self._attributes(x[0], 0, noise.attributes[0])
        read_b = self._attributes(x[1], 1, noise.attributes[1])
        fake_a, fake_b = g(content_b, read_a[0], 0), g(content_a, read_b[0], 1)
        back_b, back_a = e_c(fake_a, 0, noise.content_back[0]), e_c(fake_b, 1, noise.content_back[1])
        again_a = self._attributes(fake_a, 0, noise.attributes_back[0])[0]
        again_b = self._attributes(fake_b, 1, noise.attributes_back[1])[0]
        return {
            "content 0": content_a, "content 1": content_b, "read 0": read_a, "read 1": read_b,
            "fake 0": fake_a, "fake 1": fake_b,
            "own 0": g(content_a, read_a[0], 0), "own 1": g(content_b, read_b[0], 1),
            "back 0": g(back_a, again_a, 0), "back 1": g(back_b, again_b, 1),
            "guess 0": g(content_b, noise.guess, 0), "guess 1": g(content_a, noise.guess, 1),
            "guess2 0": g(content_b, noise.guess2, 0), "guess2 1": g(content_a, noise.guess2, 1),
        }  # fmt: skip

    def _judge_images(self, x: Sequence[Tensor], other: Sequence[Tensor], made: dict[str, Any]) -> Terms:
        """One step of each of the four, one after the other."""
        reals, fakes = [], []
        for domain, name in enumerate("AB"):
            two = self.second_judged and self.weights.seeking > 0
            guesses = [made[f"guess {domain}"], *([made[f"guess2 {domain}"]] if two else [])]
            for judge, real, pictures in (
                (f"D_{name}", x[domain], [made[f"fake {domain}"]]),
                (f"D_{name}2", other[domain], guesses),
            ):
                network = self.networks[judge]
                on_real = sum(entropy(network(real), 1) for _ in pictures)
                on_fake = sum(entropy(network(picture.detach()), 0) for picture in pictures)
                self.optimisers[judge].zero_grad()
                (on_real + on_fake).backward()
                self.optimisers[judge].step()
                reals.append(on_real)
                fakes.append(on_fake)
        return named("D_images", real=torch.stack(reals).sum(), fake=torch.stack(fakes).sum())

    def _judge_content(self, made: dict[str, Any]) -> Terms:
        """A step of D_content, to which B's contents are the real ones."""
        network = self.networks["D_content"]
        fake = entropy([network(made["content 0"].detach())], 0)
        real = entropy([network(made["content 1"].detach())], 1)
        self.optimisers["D_content"].zero_grad()
        (real + fake).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.weights.clip)
        self.optimisers["D_content"].step()
        return named("D_content", real=real, fake=fake)

    def _by_encoded(self, x: Sequence[Tensor], made: dict[str, Any]) -> Terms:
        """The first phase: E_c, E_a and G."""
        terms: dict[str, Any] = dict.fromkeys(("fool", "content", "cycle", "self", "kl", "content_norm"), 0.0)
        for domain, name in enumerate("AB"):
            content, (_, mean, log_variance) = made[f"content {domain}"], made[f"read {domain}"]
            terms["fool"] += entropy(self.networks[f"D_{name}"](made[f"fake {domain}"]), 1)
            terms["content"] += entropy([self.networks["D_content"](content)], 0.5)
            terms["cycle"] += apart(made[f"back {domain}"], x[domain])
            terms["self"] += apart(made[f"own {domain}"], x[domain])
            terms["content_norm"] += content.pow(2).mean()
            if log_variance is None:
                terms["kl"] += mean.pow(2).mean()
            else:
                terms["kl"] += -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
        weights = self.weights
        loss = terms["fool"] + terms["content"] + weights.cycle * terms["cycle"] + weights.own * terms["self"]
        loss = loss + weights.divergence * terms["kl"] + weights.squares * terms["content_norm"]
        self._step(loss, ARTISTS)
        return named("EG1", **terms)

    def _by_random(self, x: Sequence[Tensor], noise: Noise) -> Terms:
        """The second phase: E_c and G, with contents and pictures of its own."""
        g, weights = self.networks["G"], self.weights
        contents = [self.networks["E_c"](x[d], d, noise.content_again[d]) for d in (0, 1)]
        terms: dict[str, Any] = {"fool": 0.0, "latent_regression": 0.0}
        terms |= {"mode_seeking": 0.0} if weights.seeking else {}
        terms |= {"divco": 0.0} if noise.around else {}
        for target, name in enumerate("AB"):
            source, judge = contents[1 - target], self.networks[f"D_{name}2"]
            query = g(source, noise.z, target)
            terms["fool"] += entropy(judge(query), 1)
            terms["latent_regression"] += apart(self._mean(query, target), noise.z)
            if noise.around:
                others = [g(source, code, target) for code in noise.around]
                features = torch.cat([self._mean(picture, target) for picture in (query, *others)])
                terms["divco"] += contrasts(features, len(query), weights.temperature, weights.normalise)
                terms["fool"] += entropy(judge(others[1]), 1) if self.second_judged else 0.0
            if weights.seeking:
                second = g(source, noise.z2, target)
                ratio = apart(second, query) / apart(noise.z2, noise.z)
                terms["mode_seeking"] += 1 / (ratio + 1e-5)
                terms["fool"] += entropy(judge(second), 1) if self.second_judged else 0.0
        loss = terms["fool"] + weights.regression * terms["latent_regression"]
        loss = loss + weights.seeking * terms.get("mode_seeking", 0.0)
        loss = loss + weights.contrast * terms.get("divco", 0.0)
        self._step(loss, ("E_c", "G"))
        return named("EG2", **terms)

    def _mean(self, pictures: Tensor, domain: int) -> Tensor:
        read = self.networks["E_a"](pictures, domain)
        return read if isinstance(read, Tensor) else read[0]

    def _step(self, loss: Tensor, names: Sequence[str]) -> None:
        for name in names:
            self.optimisers[name].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for name in names:
            self.optimisers[name].step()
