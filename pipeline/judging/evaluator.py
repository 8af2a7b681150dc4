"""The judge: fixed z through source and adapted generator once, every picture once through each network.

B batch, n evaluation z, D latent dimension, K training pictures, F features, H W pixels.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.judges import Edges, Eye
from pipeline.errors import CELLS_FAILED, GraftError
from pipeline.judging.intra import Clusters, intra_score
from pipeline.judging.kid import kid_score
from pipeline.judging.memorised import memorised_score, to_pictures
from pipeline.judging.perceptual import distances, pairs
from pipeline.judging.score import Score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import plain
from pipeline.judging.structure import consistency, structure_score

Draw = Callable[[Tensor], Tensor]
Named = dict[str, Tensor]
Cache = Callable[[str, Callable[[], Named]], Named]


@dataclass(frozen=True)
class Judgement:
    """scores; arrays: per-z values for judged.safetensors; inputs: hashes of all that was fixed."""

    scores: list[Score]
    arrays: Named
    inputs: dict[str, str]

    @property
    def inputs_hash(self) -> str:
        """One hash of all inputs: only results that share it may stand in one ranking."""
        return hashed(self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """What result.json takes over: scores, inputs, inputs_hash."""
        return {
            "scores": [score.as_dict() for score in self.scores],
            "inputs": self.inputs,
            "inputs_hash": self.inputs_hash,
        }


def uncached(key: str, make: Callable[[], Named]) -> Named:
    """The cache that keeps nothing."""
    return make()


def latents(settings: Judging, style_dim: int) -> Tensor:
    """The evaluation z [n, D], standard normal; the same on every machine."""
    rng = torch.Generator().manual_seed(settings.seed)
    return torch.randn(settings.n, style_dim, generator=rng)


def as_saved(pictures: Tensor) -> Tensor:
    """Pictures as a file would hold them: uint8, by rounding 127.5 x + 128 down, and back to [-1, 1].

    As StyleGAN2-ADA's metrics do. uint8 pictures are only taken back. Raises GraftError for NaN and infinity.
    """
    if pictures.dtype != torch.uint8:
        if not bool(pictures.isfinite().all()):
            raise GraftError(
                "the generator draws values that are not finite; nothing can be judged", CELLS_FAILED
            )
        pictures = (pictures * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return pictures.float() / 127.5 - 1


def hashed(content: Tensor | dict[str, str]) -> str:
    """sha256 of a tensor's shape and bytes, or of a dict of strings."""
    if isinstance(content, dict):
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    kind = f"{content.dtype}{list(content.shape)}".encode()
    return hashlib.sha256(kind + content.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def judge(
    adapted: Draw,
    source: Draw,
    shots: Tensor,
    heldout: Tensor | None,
    settings: Judging,
    eye: Eye,
    edges: Edges,
    *,
    style_dim: int,
    source_hash: str,
    cache: Cache = uncached,
    device: torch.device | str = "cpu",
) -> Judgement:
    """Every metric of one adapted generator.

    adapted, source: z [B, D] on `device` -> pictures [B, 3, H, W] in [-1, 1]; EMA weights, no gradients.
    shots [K, 3, H, W] and heldout [m, 3, H, W]: uint8, or float in [-1, 1]; heldout None leaves KID out.
    eye, edges: already on `device`. source_hash: of the source's weights; names its side in the cache.
    """
    z = latents(settings, style_dim)
    inputs = {
        "z": hashed(z),
        "source": source_hash,
        "shots": hashed(shots),
        "heldout": "" if heldout is None else hashed(heldout),
        "eye": f"{eye.name} {eye.sha256}",
        "edges": f"{edges.name} {edges.sha256}",
        "protocol": json.dumps(settings.model_dump(exclude={"batch"}), sort_keys=True),
    }
    z = z.to(device)
    of_source = {key: inputs[key] for key in ("z", "source", "eye", "edges", "protocol")}
    before = cache(f"source-{hashed(of_source)}", lambda: _look_at_source(source, z, settings, eye, edges))
    looked = _look(adapted, z, before["edges"], as_saved(shots).to(device), settings, eye, edges)
    scores, arrays = _scores(looked, float(before["spread"]), eye.name, edges.name, settings)
    if heldout is not None:
        of_heldout = {key: inputs[key] for key in ("heldout", "eye")}
        real = cache(
            f"heldout-{hashed(of_heldout)}",
            lambda: {"features": features_of(as_saved(heldout), settings, eye, device)},
        )
        kid, each = kid_score(plain(looked.features), plain(real["features"]), eye.name, settings)
        scores.insert(0, kid)
        arrays["kid"] = torch.from_numpy(each).float()
    return Judgement(scores, arrays, inputs)


@torch.no_grad()
def features_of(pictures: Tensor, settings: Judging, eye: Eye, device: torch.device | str) -> Tensor:
    """[m, 3, H, W] -> [m, F] on the CPU."""
    parts = torch.split(pictures, settings.batch)
    return torch.cat([eye.features(part.to(device)).cpu() for part in parts])


@torch.no_grad()
def _look_at_source(source: Draw, z: Tensor, settings: Judging, eye: Eye, edges: Edges) -> Named:
    """edges [n, 1, H, W] in half precision, and spread: the first pictures' median pairwise distance."""
    maps: list[Tensor] = []
    taps: list[list[Tensor]] = []
    drawn = 0
    for part in torch.split(z, settings.batch):
        pictures = as_saved(source(part))
        maps.append(edges.map(pictures).half().cpu())
        some = pictures[: max(settings.spread - drawn, 0)]
        if len(some):
            taps.append(eye.taps(some))
        drawn += len(part)
    sample = [torch.cat(tap) for tap in zip(*taps, strict=True)]
    return {"edges": torch.cat(maps), "spread": pairs(distances(sample, sample)).cpu().quantile(0.5)}


@dataclass(frozen=True)
class _Looked:
    """features [n, F], structure [n], nearest [n, K] distances (mirror images in), clusters; on the CPU."""

    features: Tensor
    structure: Tensor
    nearest: Tensor
    clusters: Clusters


@torch.no_grad()
def _look(
    adapted: Draw, z: Tensor, before: Tensor, shots: Tensor, settings: Judging, eye: Eye, edges: Edges
) -> _Looked:
    count = len(shots)
    known = eye.taps(torch.cat([shots, shots.flip(3)]))
    order = torch.randperm(settings.n, generator=torch.Generator().manual_seed(settings.seed))
    clusters = Clusters(count, settings.members, order)
    features: list[Tensor] = []
    structure: list[Tensor] = []
    nearest: list[Tensor] = []
    for first in range(0, settings.n, settings.batch):
        part = slice(first, first + settings.batch)
        pictures = as_saved(adapted(z[part]))
        seen = eye.see(pictures)
        # The source's maps went through half precision, kept or not; these go the same way.
        maps = edges.map(pictures).half().cpu()
        structure.append(consistency(maps, before[part]))
        apart = distances(seen.taps, known)
        clusters.add(first, apart[:, :count].argmin(1), seen.taps)
        nearest.append(to_pictures(apart).cpu())
        features.append(seen.features.cpu())
    return _Looked(torch.cat(features), torch.cat(structure), torch.cat(nearest), clusters)


def _scores(
    looked: _Looked, spread: float, eye: str, edges: str, settings: Judging
) -> tuple[list[Score], Named]:
    """Structure, intra and memorised, and the arrays of judged.safetensors but for KID's."""
    structure = structure_score(looked.structure, edges, settings)
    intra, varied = intra_score(looked.clusters, settings.n, eye, settings)
    memorised, copies = memorised_score(looked.nearest, spread, eye, settings)
    arrays = {
        "structure": looked.structure.float(),
        "features": looked.features.half(),
        "nearest": looked.nearest.min(1).values.float(),
        "memorised": torch.from_numpy(copies).float(),
    }
    if varied is not None:
        arrays["intra"] = torch.from_numpy(varied).float()
    return [structure, intra, memorised], arrays
