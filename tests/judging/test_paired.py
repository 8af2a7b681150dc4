"""A translator that learned from pairs: what is measured on its outputs of each test input."""

import itertools
import json

import numpy as np
import pytest
import torch
from tinted import Plain, distance_by_loops, pictures

from pipeline.errors import GraftError
from pipeline.judging.codes import noise
from pipeline.judging.evaluator import as_saved
from pipeline.judging.kid import condition_kernels, whole
from pipeline.judging.paired import judge_paired
from pipeline.judging.settings import Binning, Pairing
from pipeline.judging.statistics import plain

SETTINGS = Pairing(outputs=3, batch=2, resamples=100, binning=Binning(bins=3))
A, B, TRAINING = pictures(7, 1), pictures(7, 2), pictures(30, 3)


def draw(x, z):
    return x * 0.5 + 0.3 * z.tanh()[:, :, None, None]


def judged(drawn=draw, first=A, second=B, training=TRAINING, eye=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return judge_paired(drawn, first, second, settings, eye or Plain(), 3, training)


def by_name(judgement):
    return {score.name: score for score in judgement.scores}


def outputs():
    z = noise(SETTINGS.seed, "a", range(7), "b", 3, 3)
    return torch.stack([as_saved(draw(as_saved(A), z[:, k])) for k in range(3)], 1)


def test_every_score_is_there_over_inputs():
    scores = by_name(judged())
    assert list(scores) == ["kid", "diversity", "closest", "ndb", "jsd"]
    for score in scores.values():
        assert (score.n, score.detail["sources"]) == (21, 7)
    for name in ("kid", "diversity", "closest"):
        assert scores[name].low < scores[name].value < scores[name].high


def test_diversity_and_the_closest_output_are_those_of_loops():
    judgement = judged()
    true, spread, nearest = as_saved(B), [], []
    for row, mine in enumerate(outputs()):
        spread.append(np.mean([distance_by_loops(p, q) for p, q in itertools.combinations(mine, 2)]))
        nearest.append(min(float((one.double() - true[row]).abs().mean()) for one in mine))
    np.testing.assert_allclose(judgement.arrays["closest"], nearest, rtol=1e-5)
    np.testing.assert_allclose(judgement.arrays["diversity"], spread, rtol=1e-4)
    scores = by_name(judgement)
    assert scores["closest"].value == pytest.approx(np.mean(nearest))
    assert scores["diversity"].value == pytest.approx(np.mean(spread), rel=1e-4)


def test_kid_leaves_out_an_inputs_own_true_picture():
    features = plain(torch.stack([Plain().features(mine) for mine in outputs()]))
    real = plain(Plain().features(as_saved(B)))
    expected = whole(condition_kernels(features, real, own=True))
    assert by_name(judged())["kid"].value == pytest.approx(expected, rel=1e-4)
    assert judged().arrays["kid"].shape == (7,)


def test_the_true_picture_among_the_outputs_is_found():
    def knows(x, z):
        rows = (as_saved(A)[None] == x[:, None]).flatten(2).all(2).float().argmax(1)
        return as_saved(B)[rows]

    scores = by_name(judged(knows))
    assert (scores["closest"].value, scores["diversity"].value) == (0, 0)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_change_no_score(batch):
    one, other = judged(), judged(batch=batch)
    assert one.inputs_hash == other.inputs_hash
    for first, second in zip(one.scores, other.scores, strict=True):
        assert first.value == pytest.approx(second.value, rel=1e-4)


def test_every_picture_goes_through_the_eye_once_and_bins_need_training_pictures():
    eye = Plain()
    assert list(by_name(judged(training=None, eye=eye))) == ["kid", "diversity", "closest"]
    assert eye.looked_at == 21 + 7


def test_bins_say_that_outputs_of_an_input_are_not_independent():
    found = judged().as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "independent" in by_name(judged())["ndb"].protocol["independence"]


def test_what_are_no_pairs_is_refused():
    with pytest.raises(GraftError, match="7 test pictures A and 6 B"):
        judged(second=B[1:])


def test_any_other_input_gives_another_hash():
    base = judged().inputs_hash
    for other in (judged(first=B), judged(second=A), judged(training=None), judged(outputs=4)):
        assert other.inputs_hash != base
