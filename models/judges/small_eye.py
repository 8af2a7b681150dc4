"""Graft's own eye: a small convolutional network that needs nothing from outside.

B batch, C channels, H W pixels, h w positions. Pictures are float [-1, 1], RGB, NCHW.
Trained by `python -m benchmarks.train_eye configs/eye.yaml` to name the parts of the shipped avatars under
strong changes of style; its card lies beside it. Scores made with it carry its name.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.judges.eye import Seen, loaded, resized, unit_channels

NAME = "graft_eye"
SIDE = 64
# Channels after each 3x3 convolution, and its stride: sides 32, 32, 16, 8, 8, 4.
LAYERS = ((24, 2), (32, 1), (64, 2), (96, 2), (128, 1), (160, 2))
# Layers whose output is tapped (sides 32, 16, 8, 4), and pooled into the features.
TAPPED = (1, 2, 4, 5)


class SmallEye(nn.Module):
    """Six convolutions with batch norm and ReLU; one linear head an attribute, used in training only.

    classes: attribute -> number of its values.
    """

    name = NAME

    def __init__(self, classes: Mapping[str, int], sha256: str = "") -> None:
        super().__init__()
        self.sha256 = sha256
        convs: list[nn.Module] = []
        norms: list[nn.Module] = []
        inside = 3
        for outside, stride in LAYERS:
            convs.append(nn.Conv2d(inside, outside, 3, stride, 1, bias=False))
            norms.append(nn.BatchNorm2d(outside))
            inside = outside
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        # The heads see the 4 x 4 map, not its mean: a moustache and a hat differ in where they are.
        self.heads = nn.ModuleDict({name: nn.Linear(inside * 16, count) for name, count in classes.items()})

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1], resized to 64 -> the tapped maps, raw, from side 32 to side 4."""
        x = resized(pictures, SIDE)
        maps: list[Tensor] = []
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = functional.relu(norm(conv(x)))
            if index in TAPPED:
                maps.append(x)
        return maps

    def attributes(self, pictures: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] in [-1, 1] -> logits [B, values] of every attribute; carries gradients."""
        flat = self.stages(pictures)[-1].flatten(1)
        return {name: head(flat) for name, head in self.heads.items()}

    @torch.no_grad()
    def see(self, pictures: Tensor) -> Seen:
        """Features [B, 352] (means of the last three tapped maps) and taps of 32, 64, 128, 160 channels.

        The early maps are pooled too: the last one alone is trained to look past style, which is what a
        distance between two sets of pictures must not do.
        """
        maps = self.stages(pictures)
        pooled = torch.cat([feature.mean((2, 3)) for feature in maps[1:]], 1)
        return Seen(pooled, [unit_channels(feature) for feature in maps])

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, 352]."""
        return self.see(pictures).features

    def taps(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> unit-length maps of 32, 64, 128, 160 channels."""
        return self.see(pictures).taps


def small_eye(tensors: Mapping[str, Tensor], sha256: str) -> SmallEye:
    """The frozen eye with these weights; the heads' sizes are read from them."""
    classes = {
        key.removeprefix("heads.").removesuffix(".weight"): value.shape[0]
        for key, value in tensors.items()
        if key.startswith("heads.") and key.endswith(".weight")
    }
    return loaded(SmallEye(classes, sha256), tensors)
