"""What DRIT can be told: sizes, weights, optimisers, with the published values and where they come from."""

import math
from typing import Literal

from pipeline.methods import conditional
from pipeline.methods.settings import Frozen, value
from pipeline.phase import Adam, Ramp, Weight


class Network(Frozen):
    """Sizes of the eight networks."""

    size: int = value(216, "side of the picture, a multiple of 4", "DRIT: crops of 216", "pixels", low=32)
    latent_dim: int = value(8, "length of a latent, and of what is read of the attributes", "DRIT", low=1)
    width: int = value(64, "channels of the first layers", "DRIT", "channels", low=1)


class Weights(conditional.Weights):
    """Weights of the terms (DRIT's release). Every term adds up both domains, or both directions."""

    real: float = value(
        1.0, "cross-entropy of real pictures, and of B's contents, in discriminators", "DRIT", low=0
    )
    fake: float = value(
        1.0, "cross-entropy of made pictures, and of A's contents, in discriminators", "DRIT", low=0
    )
    fool: float = value(1.0, "made pictures that are taken for real", "DRIT", low=0)
    content: float = value(1.0, "contents whose domain cannot be told: cross-entropy to 1/2", "DRIT", low=0)
    cycle: float = value(10.0, "pictures got back after two translations", "DRIT", low=0)
    self: float = value(10.0, "pictures drawn from their own content and attributes", "DRIT", low=0)
    kl: float = value(
        0.01, "divergence of attributes from the normal, a sum over the batch; featurewise: their squares",
        "DRIT's release", low=0,
    )  # fmt: skip
    content_norm: float = value(0.01, "mean square of contents", "DRIT's release", low=0)
    divco: float = value(
        1.0, "contrast of a latent's neighbours with other latents",
        "DivCo's release: 1 for seasons, 0.1 for cats and dogs", low=0,
    )  # fmt: skip
    latent_regression: float = value(10.0, "latent read back from the picture", "DRIT; DivCo: 0", low=0)
    distance: float = conditional.diversity_weight("distance")


class Settings(conditional.Settings):
    """DRIT's generators, optimisers and intervals."""

    weights: Weights = Weights()
    steps: int = value(
        500_000,
        "length of the run, for the fall of the learning rate",
        "filled in by the run",
        "steps",
        low=1,
    )
    domains: tuple[str, ...] = value(
        (), "the two domains, by name, where a set has more; the first of them by its label is A", "Graft"
    )
    generator: Literal["concat", "featurewise"] = value(
        "concat", "how codes enter: concat for seasons and light, featurewise for changes of shape", "DRIT"
    )
    lr: float = value(1e-4, "learning rate of all but D_content", "DRIT", low=0, high=1)
    lr_content: float = value(4e-5, "learning rate of D_content", "DRIT", low=0, high=1)
    weight_decay: float = value(1e-4, "added to the gradient, as L2", "DRIT's release", low=0)
    fall_from: float = value(
        0.5, "share of the run after which learning rates fall to 0; 1: they stay", "DRIT", low=0, high=1
    )
    d_iter: int = value(
        3, "on all but every k-th step D_content trains alone; 1 is nearly as good", "DRIT", "steps", low=1
    )
    clip: float = value(5.0, "most norm of D_content's gradient; 0: no such limit", "DRIT's release", low=0)
    content_noise: float = value(1.0, "deviation of the noise on contents in training", "DRIT", low=0)
    crop: float = value(
        1.0, "chance of a random resized crop", "Graft; DRIT: always 216 of 256 pixels, not resized",
        low=0, high=1,
    )  # fmt: skip
    second_judged: bool = value(
        False,
        "discriminators see a second random picture where one is drawn: of mode_seeking, or the first negative",
        "on in the releases of DRIT and DivCo",
    )
    divco_features: Literal["attribute_encoder", "content_encoder"] = value(
        "attribute_encoder", "whose features the contrast compares", "DivCo's release; its paper: generator's"
    )

    def adam(self, lr: float) -> Adam:
        """Adam at a rate that stays, and then falls in a straight line to 0 at the end of the run."""
        start = math.floor(self.fall_from * self.steps)
        rate: Weight = Ramp(lr, 0.0, self.steps - start, start) if start < self.steps else lr
        return Adam(rate, (0.5, 0.999), weight_decay=self.weight_decay)

    @property
    def seconds_in_d(self) -> bool:
        """Whether D_A2 and D_B2 train with a second random picture: DRIT's release does, with mode seeking."""
        return self.second_judged and self.weights.mode_seeking > 0


RELEASED: dict[str, object] = {
    "second_judged": True,
    "divco_normalise": False,
    "divco_reduction": "sum",
}
PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {"weights": {"divco": 0.0}},
    "released": {**RELEASED, "weights": {"divco": 0.0, "mode_seeking": 1.0}},
    "divco_released": {**RELEASED, "weights": {"divco": 1.0, "latent_regression": 0.0}},
}
