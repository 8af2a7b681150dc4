"""What StarGAN v2 can be told: sizes, weights, optimisers, with the published values and where they come from."""

import math
from typing import Literal

from pipeline.methods.diversity import DiversitySettings, DiversityWeights
from pipeline.methods.settings import Frozen, value


class Network(Frozen):
    """Sizes of the four networks."""

    size: int = value(256, "side of the picture, a power of two", "StarGAN v2", "pixels", low=32, high=1024)
    style_dim: int = value(64, "length of a style", "StarGAN v2", low=1)
    latent_dim: int = value(16, "length of a latent", "StarGAN v2", low=1)
    hidden_dim: int = value(512, "width of the mapping network", "StarGAN v2", low=1)
    base: int = value(16384, "first width times the side", "StarGAN v2: 2^14", "channels", low=32)
    widest: int = value(512, "most channels", "StarGAN v2", "channels", low=1)
    high_pass: float = value(
        0.0, "divisor of the high-pass skips; 0: none. Needs aligned faces and the FAN's weights",
        "StarGAN v2: 1 for faces, 0 for animals", low=0,
    )  # fmt: skip


class Weights(DiversityWeights):
    """Weights of the terms (B.2 of the release: all 1; ds 2 for animals)."""

    real: float = value(1.0, "logistic loss of real pictures, in D", "StarGAN v2", low=0)
    fake: float = value(1.0, "logistic loss of drawn pictures, in D", "StarGAN v2", low=0)
    r1: float = value(1.0, "gradient penalty on real pictures, half the squared norm", "StarGAN v2", low=0)
    fool: float = value(1.0, "non-saturating loss of drawn pictures", "StarGAN v2", low=0)
    style: float = value(1.0, "style read back from the picture", "StarGAN v2", low=0)
    cycle: float = value(1.0, "the source picture got back", "StarGAN v2", low=0)
    ds: float = value(1.0, "distance of two pictures of one source, maximised", "StarGAN v2: 1 or 2", low=0)
    latent_regression: float = value(
        0.0, "added to the weight of style, which is this very term", "BicycleGAN: 0.5", low=0
    )


class Settings(DiversitySettings):
    """StarGAN v2's optimisers, averages, augmentation, references."""

    weights: Weights = Weights()
    steps: int = value(
        100_000, "length of the run, for the fall of ds", "filled in by the run", "steps", low=1
    )
    lr: float = value(1e-4, "learning rate of G, E and D", "StarGAN v2", low=0, high=1)
    lr_mapping: float = value(1e-6, "learning rate of the mapping network", "StarGAN v2", low=0, high=1)
    beta2: float = value(0.99, "second beta of Adam; the first is 0", "StarGAN v2", low=0, high=1)
    weight_decay: float = value(1e-4, "added to the gradient, as L2", "StarGAN v2's release", low=0)
    ema_decay: float = value(
        0.999, "share of the average that stays, each step", "StarGAN v2's release", low=0, high=1
    )
    ema_start: Literal["live", "released"] = value(
        "live", "what averages start from; released: from other first values than the live networks", "Graft"
    )
    ds_over: float = value(
        1.0, "share of the run in which ds falls to 0; 0: it stays", "StarGAN v2", low=0, high=1
    )
    fan: str | None = value(
        None,
        "file of the face alignment network, for the masks of high_pass",
        "StarGAN v2's release: wing.ckpt",
    )
    crop: float = value(0.5, "chance of a random resized crop", "StarGAN v2's release", low=0, high=1)
    pairing: Literal["redrawn", "fixed"] = value(
        "redrawn", "the second reference: another in each epoch, or one for the whole run", "Graft"
    )
    divco_features: Literal["generator_encoder", "style_encoder", "discriminator"] = value(
        "generator_encoder", "whose features the contrast compares", "DivCo"
    )
    divco_space: Literal["z", "s"] = value("z", "where neighbours are drawn: latents or styles", "DivCo: z")

    @property
    def ds_steps(self) -> int:
        """Steps after which ds weighs nothing; 0: it never falls."""
        return math.ceil(self.ds_over * self.steps)


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {"weight_decay": 0.0},
    "released": {"ema_start": "released", "pairing": "fixed"},
}
