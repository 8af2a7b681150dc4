"""What every StyleGAN2 method can be told, with the published values and where they come from."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.phase import Adam, Average


def value(
    default: Any,
    description: str,
    source: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A documented field: its range is checked, and `--explain` prints all of it."""
    return Field(
        default, description=description, ge=low, le=high, json_schema_extra={"source": source, "unit": unit}
    )


class Frozen(BaseModel):
    """Values only: unknown names are errors, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Network(Frozen):
    """Sizes of a StyleGAN2 pair."""

    size: int = value(64, "side of the picture, a power of two", "Graft", "pixels", low=32, high=1024)
    widths: dict[int, int] = value({}, "channels by side", "StyleGAN2: 512 up to 64 px", "channels")
    style_dim: int = value(128, "length of z and w", "StyleGAN2: 512", low=1)
    mapping_layers: int = value(4, "linear layers from z to w", "StyleGAN2: 8", low=1)


class StepWeights(Frozen):
    """Weights of the terms of the StyleGAN2 step (Karras et al. 2020)."""

    real: float = value(1.0, "logistic loss of real pictures, in D", "StyleGAN2", low=0)
    fake: float = value(1.0, "logistic loss of drawn pictures, in D", "StyleGAN2", low=0)
    fool: float = value(1.0, "non-saturating loss of drawn pictures, in G", "StyleGAN2", low=0)
    r1: float = value(5.0, "gradient penalty on real pictures: gamma / 2", "StyleGAN2: gamma 10", low=0)
    path: float = value(2.0, "path length penalty", "StyleGAN2", low=0)


class StepSettings(Frozen):
    """The StyleGAN2 step: optimiser, lazy regularisers, mixing, averages."""

    weights: StepWeights = StepWeights()
    lr: float = value(0.002, "learning rate of Adam before the lazy ratio", "StyleGAN2", low=0, high=1)
    beta2: float = value(
        0.99, "second beta of Adam before the lazy ratio; the first is 0", "StyleGAN2", low=0, high=1
    )
    r1_every: int = value(16, "gradient penalty on every k-th step", "StyleGAN2", "steps", low=1)
    path_every: int = value(4, "path length penalty on every k-th step", "StyleGAN2", "steps", low=1)
    path_decay: float = value(0.01, "speed of the running mean of path lengths", "StyleGAN2", low=0, high=1)
    path_from_source: bool = value(
        True, "start that mean where the source's training left it; false: at 0, as released", "Graft"
    )
    mixing: float = value(0.9, "chance that a batch mixes two styles", "StyleGAN2", low=0, high=1)
    stddev_group: int = value(4, "pictures per group of the minibatch deviation", "StyleGAN2", low=1)
    ema_half_life: float = value(312.5, "half-life of the averaged generator", "StyleGAN2", "steps", low=0.01)
    ema_ramp: float = value(
        0.05,
        "half-life at most this share of the steps so far; 0: no such limit",
        "StyleGAN2-ADA",
        low=0,
        high=1,
    )

    def adam(self, every: int) -> Adam:
        """Adam with the lazy-regularisation correction c = every / (every + 1)."""
        ratio = every / (every + 1)
        return Adam(self.lr * ratio, (0.0, float(self.beta2**ratio)))

    def average(self) -> Average:
        """EMA of the generator."""
        return Average(self.ema_half_life, self.ema_ramp)
