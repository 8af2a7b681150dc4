"""Intra-cluster perceptual distance: does an adapted generator vary around each training picture?

n generated pictures, K training pictures. Ojha et al. 2021, section 4 (there with LPIPS): every generated
picture belongs to its nearest training picture; the mean pairwise distance inside each cluster, averaged.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.judging.perceptual import distances, pairs
from pipeline.judging.score import Score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import Array, bootstrap_interval


@dataclass
class Clusters:
    """Filled picture by picture; keeps the taps of at most `most` members each.

    Which members are kept is a seeded choice among all of the cluster: those lowest in `order`, a permutation
    of the n indices. So neither batches nor the order of arrival matter, and memory does not grow with n.
    """

    count: int
    most: int
    order: Tensor
    sizes: list[int] = field(init=False)
    kept: list[list[tuple[int, int, list[Tensor]]]] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = [0] * self.count
        self.kept = [[] for _ in range(self.count)]

    def add(self, first: int, nearest: Tensor, taps: list[Tensor]) -> None:
        """Pictures number first, first + 1, ... with the clusters nearest [B] and taps [B, C, h, w] each."""
        for row, cluster in enumerate(nearest.tolist()):
            index = first + row
            self.sizes[cluster] += 1
            members = self.kept[cluster]
            members.append((int(self.order[index]), index, [tap[row].clone() for tap in taps]))
            if len(members) > self.most:
                members.remove(max(members, key=lambda member: member[0]))

    def measured(self) -> list[tuple[list[int], Array]]:
        """Of every cluster with two members or more: the kept indices, and their distances [s, s]."""
        found = []
        for members in self.kept:
            if len(members) > 1:
                ordered = sorted(members, key=lambda member: member[1])
                taps = [torch.stack(maps) for maps in zip(*(member[2] for member in ordered), strict=True)]
                square = distances(taps, taps).cpu().double().numpy()
                found.append(([member[1] for member in ordered], square))
        return found


def evenness(sizes: list[int]) -> float:
    """Entropy of cluster sizes over that of equal ones: 1 evenly filled, 0 all in one; 1 for one cluster."""
    if len(sizes) < 2:
        return 1.0
    shares = [size / sum(sizes) for size in sizes if size]
    return abs(-sum(share * math.log(share) for share in shares) / math.log(len(sizes)))


def intra_score(clusters: Clusters, n: int, network: str, settings: Judging) -> tuple[Score, Array | None]:
    """Mean over valid clusters of the mean pairwise distance, and per-z values [n] whose mean it is.

    The per-z values are the linearised contributions: V for a picture that was not kept, and
    V + n / (K' s) 2 (its mean distance - its cluster's) for one of the s kept ones of K' valid clusters.
    """
    measured = clusters.measured()
    means = [float(pairs(torch.from_numpy(square)).mean()) for _, square in measured]
    detail = {
        "sizes": clusters.sizes,
        "valid_clusters": len(means),
        "clusters": clusters.count,
        "cluster_std": float(np.std(means, ddof=1)) if len(means) > 1 else None,
    }
    value, low, high, each = None, None, None, None
    if means:
        value = float(np.mean(means))
        each = np.full(n, value)
        for (indices, square), mean in zip(measured, means, strict=True):
            own = square.sum(1) / (len(indices) - 1)
            each[indices] += n / (len(means) * len(indices)) * 2 * (own - mean)
        low, high = bootstrap_interval(each, settings.resamples, settings.seed, settings.level)
        detail["entropy_weighted"] = value * evenness(clusters.sizes)
    else:
        detail["reason"] = "no cluster has two members"
    protocol = {
        "assignment": "nearest training picture",
        "members": clusters.most,
        "left_out": "clusters with fewer than two members",
        "distance": "spatial mean of squared differences of unit-length taps, summed over taps",
        "interval": "bootstrap over z, linearised",
    }
    return Score("intra", value, low, high, n, "higher", network, protocol, detail), each
