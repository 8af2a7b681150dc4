"""The first values that the releases give their networks."""

from typing import Literal, TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)
Kind = Literal["dcgan", "bicycle", "drit"]
DEVIATION = 0.02


def initialised(module: Network, kind: Kind) -> Network:
    """Draw the weights of `module` anew, in place, from torch's generator; returns it.

    dcgan and drit: weights of (transposed) convolutions from N(0, 0.02); biases, norms and linear layers stay
    at torch's default. bicycle: (transposed) convolutions and linear layers Xavier normal of gain 0.02,
    biases 0. All as released.
    """
    for part in module.modules():
        if kind == "bicycle":
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_normal_(part.weight, gain=DEVIATION)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, DEVIATION)
    return module
