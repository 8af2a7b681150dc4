"""TGAN: plain fine-tuning of the source pair (Wang et al. 2018), the baseline of CDC and RSSA.

The StyleGAN2 step on the few pictures, image head only, nothing frozen, no other loss.
Published weights: those of StyleGAN2. Difference: optimisers start fresh (the releases continue the moments of the
source run if its file has them). Reproduce: `python -m pipeline.adapt configs/adapt_lorelei.yaml method=tgan`.
"""

from pipeline.methods import stylegan2
from pipeline.methods.settings import StepSettings
from pipeline.phase import Method

Settings = StepSettings
PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "released": {"ema_ramp": 0.0, "path_from_source": False},
}
PARTS: tuple[str, ...] = ()


def method(settings: StepSettings) -> Method:
    """The table of pretraining under another name."""
    return stylegan2.method(settings, "tgan")
