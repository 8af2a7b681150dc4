"""A batch in parts, one after the other, moves every network of every method as the whole batch does."""

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.job import Pretrain
from pipeline.methods import METHODS, PRETRAINING
from pipeline.resources import Resources, applied
from tests import miniature
from tests.two_processes import EVERY_TERM, SETTINGS

SAME = 1e-9
ACROSS = ("mode_seeking", "distance")  # compare all samples of a batch: refused by name


def terms_of(name: str) -> dict[str, list[str]]:
    return {"diversity": [t for t in EVERY_TERM[name] if t not in ACROSS]} if name in EVERY_TERM else {}


def test_every_method_is_here() -> None:
    assert set(SETTINGS) == set(METHODS) | set(PRETRAINING)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_in_two_parts_is_the_whole_batch(name: str) -> None:
    whole, parts = (
        miniature.trainer(name, batch=8, parts=parts, settings=SETTINGS[name], **terms_of(name))
        for parts in (1, 2)
    )
    for _ in range(3):
        whole.step()
        parts.step()
    assert not parts.refused
    one, two = whole.nets.state(), parts.nets.state()
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=SAME, atol=SAME, msg=key)
    assert parts.readings() == pytest.approx(whole.readings(), rel=SAME, abs=1e-12)


@pytest.mark.parametrize("term", ACROSS)
@pytest.mark.parametrize("name", ["stargan2", "drit"])
def test_a_term_across_the_batch_is_refused_by_name(name: str, term: str) -> None:
    job = miniature.job_of(name, batch=8, diversity=[term])
    with pytest.raises(GraftError, match=f"/{term} of {name} compares all pictures of the batch"):
        applied(job, Resources(accumulate=2))
    assert applied(job, Resources(workers=2)) == job


def test_the_two_terms_do_differ_in_parts() -> None:
    """What is refused would be wrong."""
    whole, parts = (
        miniature.trainer("bicycle", batch=8, parts=parts, diversity=["mode_seeking"]) for parts in (1, 2)
    )
    whole.step()
    parts.step()
    assert abs(whole.readings()["G/mode_seeking"] / parts.readings()["G/mode_seeking"] - 1) > 1e-3


def test_dcgan_is_never_cut_so_nothing_of_it_is_refused() -> None:
    job = miniature.job_of("dcgan", batch=8, diversity=["mode_seeking"])
    assert isinstance(job, Pretrain)
    assert applied(job, Resources(accumulate=2)) == job
