"""A class-conditional generator judged class by class, and a paired translator."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from tinted import Plain, distance_by_loops, pictures

from pipeline.errors import GraftError
from pipeline.judging.classes import judge_classes
from pipeline.judging.evaluator import as_saved
from pipeline.judging.kid import kernels, whole
from pipeline.judging.settings import Binning, ByClass
from pipeline.judging.statistics import plain

SETTINGS = ByClass(n=12, members=5, batch=4, resamples=100, binning=Binning(bins=3))


def draw(z, y):
    """z [B, 3] is a colour on a ramp; class 1 is darker and varies half as much."""
    ramp = torch.linspace(-0.4, 0.4, 16).view(1, 1, 4, 4)
    return (
        (z.tanh() * 0.4)[:, :, None, None] * (1 - y / 2)[:, None, None, None]
        + ramp
        - 0.1 * y.view(-1, 1, 1, 1)
    )


@pytest.fixture
def heldout():
    return {0: pictures(6, 1), 1: pictures(7, 2)}


@pytest.fixture
def training():
    return {0: pictures(20, 3), 1: pictures(25, 4)}


def judged(heldout, training, drawn=draw, eye=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return judge_classes(drawn, heldout, training, settings, eye or Plain(), 3)


def by_name(judgement):
    return {score.name: score for score in judgement.scores}


def of_class(label):
    z = torch.randn(12, 3, generator=torch.Generator().manual_seed(SETTINGS.seed))
    return as_saved(draw(z, torch.full((12,), label)))


def test_every_score_is_the_mean_of_its_classes(heldout, training):
    scores = by_name(judged(heldout, training))
    assert list(scores) == ["kid", "diversity", "ndb", "jsd"]
    for score in scores.values():
        assert list(score.detail["parts"]) == ["0", "1"]
        assert score.value == pytest.approx(
            np.mean([part["value"] for part in score.detail["parts"].values()])
        )
    assert (scores["kid"].n, scores["kid"].detail["sources"]) == (24, 12)
    for name in ("kid", "diversity"):
        assert scores[name].low < scores[name].value < scores[name].high
    assert scores["ndb"].network == "pixels"


def test_kid_and_diversity_of_a_class_are_those_of_its_pictures(heldout, training):
    scores = by_name(judged(heldout, training))
    for label in (0, 1):
        mine = of_class(label)
        kid = whole(kernels(plain(Plain().features(mine)), plain(Plain().features(as_saved(heldout[label])))))
        assert scores["kid"].detail["parts"][str(label)]["value"] == pytest.approx(kid, rel=1e-4)
        loops = [distance_by_loops(p, q) for p, q in itertools.combinations(mine[:5], 2)]
        assert scores["diversity"].detail["parts"][str(label)]["value"] == pytest.approx(
            np.mean(loops), rel=1e-4
        )


def test_bins_are_counted_over_all_pictures_of_a_class(heldout, training):
    part = by_name(judged(heldout, training))["ndb"].detail["parts"]["1"]
    assert (part["fakes"], part["training"], part["bins"], part["of"]) == (12, 25, 3, 48)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_batches_change_no_score(batch, heldout, training):
    one, other = judged(heldout, training), judged(heldout, training, batch=batch)
    assert one.inputs_hash == other.inputs_hash
    for first, second in zip(one.scores, other.scores, strict=True):
        assert first.value == pytest.approx(second.value, rel=1e-4)
        if first.low is not None:
            assert (first.low, first.high) == pytest.approx((second.low, second.high), rel=1e-3, abs=1e-5)


def test_without_training_pictures_there_are_no_bins_and_pictures_are_seen_once(heldout):
    eye = Plain()
    assert list(by_name(judged(heldout, {}, eye=eye))) == ["kid", "diversity"]
    assert eye.looked_at == 2 * 12 + 13


def test_a_class_that_always_draws_one_picture_has_no_diversity(heldout, training):
    scores = by_name(judged(heldout, training, drawn=lambda z, y: draw(z * 0, y)))
    assert scores["diversity"].value == pytest.approx(0, abs=1e-9)
    assert scores["jsd"].value > by_name(judged(heldout, training))["jsd"].value / 2


def test_one_held_out_picture_gives_no_kid(heldout, training):
    score = by_name(judged({**heldout, 1: heldout[1][:1]}, training))["kid"]
    assert score.value is None
    assert "1: one held-out" in score.detail["reason"]
    with pytest.raises(GraftError, match="no class"):
        judged({}, training)


def test_results_are_plain_data_and_any_input_counts(heldout, training):
    base = judged(heldout, training)
    found = base.as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert not re.search(r"\b(fid|lpips|inception)\b", json.dumps(found), re.IGNORECASE)
    for other in (judged(heldout, {}), judged({0: heldout[0]}, training), judged(heldout, training, seed=1)):
        assert other.inputs_hash != base.inputs_hash
