"""Training data with labels: sets of domains or of classes, with held-out pictures where there are any."""

from torch import Tensor

from pipeline.data.domains import Domains, open_domains
from pipeline.data.layouts import find_layout
from pipeline.data.shipped import credits_of, place_of
from pipeline.errors import GraftError
from pipeline.families.family import Opened
from pipeline.job import Pretrain


def open_labelled(job: Pretrain, size: int, what: str) -> Opened:
    """Training pictures of every domain or class, and held-out ones with the same labels where there are any.

    what: what a label is called, in the plural.
    """
    train = open_domains(job.train, size, job.data.fit, job.seed)
    heldout = None
    if job.heldout is not None or keeps_some_apart(job.train):
        where = job.heldout or job.train
        split = "heldout" if keeps_some_apart(where) else "train"
        heldout = open_domains(where, size, job.data.fit, job.seed, split)
        if heldout.names != train.names:
            raise GraftError(
                f"{where}: its {what} are {', '.join(heldout.names)}, those of training {', '.join(train.names)}; "
                f"give both the same {what}"
            )
    about = {what: list(train.names), "credits": credits_of(job.train)}
    return Opened(train, heldout, train.count, about)


def keeps_some_apart(where: str) -> bool:
    """Whether a set has held-out pictures of its own."""
    return bool(find_layout(place_of(where), where).parts.get("heldout"))


def held_of(domains: Domains) -> dict[str, Tensor]:
    """All pictures of every domain or class: uint8 [n, 3, S, S]."""
    return {name: domains.held(label).pictures for label, name in enumerate(domains.names)}
