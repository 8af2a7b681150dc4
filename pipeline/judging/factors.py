"""Classifiers of one factor, and how far they can be trusted on real pictures.

n pictures, B a batch, H W pixels, labels -1 where unknown.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.judges.classifier import Classifier
from pipeline.errors import INPUT, GraftError
from pipeline.judging.evaluator import as_saved
from pipeline.judging.factor_labels import UNKNOWN
from pipeline.judging.score import Score
from pipeline.judging.statistics import share_interval

BATCH = 32
LEARNING_RATE = 1e-3
# Pictures looked at together once trained; changes no answer.
LOOKED_AT = 128


def train_factor_classifier(
    pictures: Tensor,
    labels: Tensor,
    classes: int,
    seed: int,
    steps: int,
    device: torch.device | str,
    *,
    flips: bool = True,
) -> Classifier:
    """A frozen classifier: Adam at 1e-3, cross-entropy (mean over batch), batches of 32 drawn with return.

    pictures: uint8 [n, 3, H, W]. labels: int64 [n]; pictures of label -1 are left out. flips: half of what is
    shown is mirrored; off where the factor has a left and a right. The same seed gives the same classifier.
    Raises GraftError where no label is known, or one is not a class.
    """
    known = labels != UNKNOWN
    pictures, labels = pictures[known], labels[known]
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise GraftError(f"a classifier of {classes} classes needs labels from 0 to {classes - 1}", INPUT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(classes)
    classifier = classifier.to(device).train()
    adam = torch.optim.Adam(classifier.parameters(), lr=LEARNING_RATE)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(labels), (BATCH,), generator=rng)
        x = as_saved(pictures[rows]).to(device)
        mirrored = torch.rand(BATCH, generator=rng) < 0.5
        if flips:
            x = torch.where(mirrored.to(device).view(-1, 1, 1, 1), x.flip(3), x)
        loss = functional.cross_entropy(classifier(x), labels[rows].to(device))
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    return classifier.eval().requires_grad_(False)


def predicted(classifier: Classifier, pictures: Tensor) -> Tensor:
    """The likeliest class of pictures [n, 3, H, W], looked at as files hold them: int64 [n] on the CPU."""
    device = next(classifier.parameters()).device
    parts = [
        classifier.predicted(as_saved(part.to(device))).cpu() for part in torch.split(pictures, LOOKED_AT)
    ]
    return torch.cat(parts)


def accuracy(classifier: Classifier, pictures: Tensor, labels: Tensor, level: float = 0.95) -> Score:
    """Share of the pictures of known label that are named right, with Wilson's interval.

    detail: share of the commonest label (what a classifier that never looks would reach), mean of the recalls
    of the labels that are there, and each of them. pictures: uint8 [n, 3, H, W] or in [-1, 1]; labels: [n].
    """
    known = labels != UNKNOWN
    true = labels[known]
    n = len(true)
    protocol = {"interval": "Wilson's, over pictures", "left_out": "pictures of unknown label"}
    if not n:
        reason = {"reason": "no label is known"}
        return Score("accuracy", None, None, None, 0, "higher", classifier.name, protocol, reason)
    right = (predicted(classifier, pictures[known]) == true).double()
    share = float(right.mean())
    low, high = share_interval(share, n, level)
    recalls = {str(int(label)): float(right[true == label].mean()) for label in torch.unique(true)}
    detail = {
        "commonest": float(true.bincount().max()) / n,
        "balanced": sum(recalls.values()) / len(recalls),
        "recalls": recalls,
    }
    return Score("accuracy", share, low, high, n, "higher", classifier.name, protocol, detail)
