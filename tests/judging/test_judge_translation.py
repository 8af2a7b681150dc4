"""Judging a translator: what its scores are made of, what they depend on, and what they say of themselves."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from tinted import Plain, Tinting, distance_by_loops, pictures

from pipeline.errors import GraftError
from pipeline.judging.codes import noise, plans
from pipeline.judging.conditions import kid_of, look
from pipeline.judging.diversity import apart, collapse_probe, pixels_apart
from pipeline.judging.evaluator import as_saved
from pipeline.judging.kid import condition_kernels, kernels, per_z, resampled, whole
from pipeline.judging.measured import Measured, averaged
from pipeline.judging.settings import Translating
from pipeline.judging.statistics import counts
from pipeline.judging.translation import judge_translation, pairs_of

SETTINGS = Translating(outputs=4, resamples=100)


@pytest.fixture
def heldout():
    return {"a": pictures(7, 1), "b": pictures(5, 2), "c": pictures(6, 3)}


def by_name(judgement):
    return {score.name: score for score in judgement.scores}


def judged(heldout, translator=None, eye=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return judge_translation(translator or Tinting(), heldout, settings, eye or Plain(), "cpu")


def test_both_modes_have_every_score_with_pairs_fakes_and_distinct_sources(heldout):
    scores = by_name(judged(heldout))
    metrics = ("kid", "frechet", "diversity")
    assert list(scores) == [f"{metric}_{mode}" for mode in ("latent", "reference") for metric in metrics]
    kid = scores["kid_reference"]
    assert list(kid.detail["parts"]) == ["a to b", "a to c", "b to a", "b to c", "c to a", "c to b"]
    assert (kid.n, kid.detail["sources"]) == (2 * 4 * (7 + 5 + 6), 18)
    part = kid.detail["parts"]["b to c"]
    assert (part["fakes"], part["sources"], part["heldout"]) == (20, 5, 6)
    assert kid.low < kid.value < kid.high
    assert kid.value == pytest.approx(np.mean([part["value"] for part in kid.detail["parts"].values()]))


def test_diversity_is_the_mean_over_sources_of_the_mean_over_pairs_of_outputs(heldout):
    score = by_name(judged(heldout))["diversity_latent"]
    translator, values = Tinting(), []
    for row, picture in enumerate(as_saved(heldout["b"])):
        z = noise(SETTINGS.seed, "b", [row], "c", 4, 3)[0]
        drawn = [
            as_saved(
                translator.decode(translator.encode(picture[None]), translator.latent_codes(one[None], 2))
            )
            for one in z
        ]
        values.append(np.mean([distance_by_loops(p[0], q[0]) for p, q in itertools.combinations(drawn, 2)]))
    part = score.detail["parts"]["b to c"]
    assert part["value"] == pytest.approx(np.mean(values), rel=1e-4)
    assert part["sources_std"] == pytest.approx(np.std(values, ddof=1), rel=1e-3)
    assert min(values) <= part["low"] < part["value"] < part["high"] <= max(values)


def test_pairs_of_one_source_domain_are_resampled_together():
    """A translator that ignores its target: two pairs are one number twice, and narrow no interval."""
    values = normal(9).numpy()
    again = counts(9, 200, 0) @ values / 9
    part = Measured(float(values.mean()), again, 90, 9, "a")
    one = averaged("diversity", {"a to b": part}, "higher", "plain", {}, 0.95)
    two = averaged("diversity", {"a to b": part, "a to c": part}, "higher", "plain", {}, 0.95)
    assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))
    assert (one.n, two.n, two.detail["sources"]) == (90, 180, 9)
    other = Measured(part.value, counts(9, 200, 1) @ values / 9, 90, 9, "d")
    apart_from_it = averaged("diversity", {"a to b": part, "d to b": other}, "higher", "plain", {}, 0.95)
    assert apart_from_it.high - apart_from_it.low < one.high - one.low
    assert apart_from_it.detail["sources"] == 18


def test_the_mean_is_absent_where_a_pair_is():
    absent = Measured(None, None, 3, 1, "a", "too few")
    there = Measured(1.0, None, 3, 1, "b")
    score = averaged("kid", {"a to b": absent, "b to a": there}, "lower", "plain", {}, 0.95)
    assert (score.value, score.detail["reason"]) == (None, "a to b: too few")
    assert score.detail["parts"]["b to a"]["value"] == 1.0


@pytest.mark.parametrize("protocol", ["clean", "stargan2"])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_change_no_score(protocol, batch, heldout):
    one, other = (judged(heldout, protocol=protocol, batch=size, within=True) for size in (4, batch))
    assert one.inputs_hash == other.inputs_hash
    for first, second in zip(one.scores, other.scores, strict=True):
        if first.value is not None:
            assert (first.value, first.low, first.high) == pytest.approx(
                (second.value, second.low, second.high), rel=1e-4, abs=1e-6
            )


def test_another_domain_changes_nothing_between_two(heldout):
    three = by_name(judged(heldout))
    two = by_name(judged({name: heldout[name] for name in ("a", "b")}))
    for name in ("kid_latent", "diversity_reference"):
        first, second = (scores[name].detail["parts"]["b to a"] for scores in (three, two))
        assert first == second


def test_every_source_is_encoded_once_every_reference_once_a_target_and_every_output_seen_once(heldout):
    translator, eye = Tinting(), Plain()
    judged(heldout, translator, eye)
    assert translator.encoded == 18
    assert translator.guided == {0: 7, 1: 5, 2: 6}
    assert eye.looked_at == 18 + 2 * 2 * 4 * 18


def test_within_a_domain_other_pictures_guide_and_stand_apart(heldout):
    scores = by_name(judged(heldout, within=True))
    assert list(scores["kid_latent_within"].detail["parts"]) == ["a to a", "b to b", "c to c"]
    assert list(scores["kid_latent"].detail["parts"]) == list(
        by_name(judged(heldout))["kid_latent"].detail["parts"]
    )
    assert "own source" in scores["kid_latent_within"].protocol["left_out"]


def test_one_domain_is_translated_within_itself_and_says_so(heldout):
    scores = by_name(judged({"b": heldout["b"]}))
    assert {name.split("_", 1)[1] for name in scores} == {"latent_within", "reference_within"}
    assert "only domain" in scores["kid_latent_within"].detail["notes"][0]


def test_one_picture_has_no_other_to_guide_it():
    scores = by_name(judged({"b": pictures(1, 0)}))
    assert scores["diversity_latent_within"].value is not None
    assert scores["diversity_reference_within"].value is None
    assert "guide" in scores["diversity_reference_within"].detail["reason"]
    assert "too few" in scores["kid_latent_within"].detail["reason"]


@pytest.mark.parametrize("protocol", ["clean", "stargan2"])
def test_fewer_references_than_outputs_are_used_again_with_a_note(protocol, heldout):
    scores = by_name(judged({"a": heldout["a"], "b": heldout["b"][:1]}, protocol=protocol))
    assert "1 references in b for 4 outputs" in scores["diversity_reference"].detail["notes"][0]
    assert scores["diversity_reference"].detail["parts"]["a to b"]["value"] == pytest.approx(0, abs=1e-9)
    assert scores["diversity_latent"].detail["parts"]["a to b"]["value"] > 0


def test_a_frechet_distance_of_too_few_pictures_is_absent_and_of_enough_is_there(heldout):
    score = by_name(judged(heldout))["frechet_latent"]
    assert score.value is None
    assert "12 features needs 24" in score.detail["reason"]
    many = {"a": pictures(30, 1), "b": pictures(26, 2)}
    found = by_name(judged(many, outputs=2))["frechet_latent"]
    assert found.value > 0
    assert found.low is None


def test_the_released_protocol_does_not_clamp_what_diversity_sees(heldout):
    loud = Tinting(strength=0.3)
    loud.decode = lambda encoded, codes: 5 + encoded["half"] + codes[:, :, None, None]
    clean = by_name(judged(heldout, loud))["diversity_latent"]
    released = by_name(judged(heldout, loud, protocol="stargan2"))["diversity_latent"]
    assert clean.value == pytest.approx(0, abs=1e-9)
    assert released.value > 1e-3
    assert "raw" in released.protocol["pictures"]


def test_the_released_protocol_weighs_batches_alike():
    """35 sources are a batch of 32 and one of 3, each half of the mean."""
    held = {"a": pictures(35, 1), "b": pictures(3, 2)}
    judgement = judged(held, outputs=2, protocol="stargan2")
    each = judgement.arrays["diversity_latent.a.b"].double()
    weights = plans("stargan2", {"a": 35, "b": 3}, [("a", "b")], 2, SETTINGS.seed)["a", "b"].weights
    small = weights > 1 / 35
    assert int(small.sum()) == 3
    expected = (each[small].mean() + each[~small].mean()) / 2
    part = by_name(judgement)["diversity_latent"].detail["parts"]["a to b"]
    assert part["value"] == pytest.approx(float(expected))
    assert part["value"] != pytest.approx(float(each.mean()), rel=1e-6)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kid_pairs_outputs_of_different_sources_alone():
    x, y = normal(5, 3, 4).numpy(), normal(6, 4, seed=1).numpy() + 0.3

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 4 + 1) ** 3

    rows = range(5)
    xx = [k(p, q) for i in rows for j in rows if i != j for p in x[i] for q in x[j]]
    yy = [k(y[i], y[j]) for i in range(6) for j in range(6) if i != j]
    xy = [k(p, q) for i in rows for p in x[i] for q in y]
    found = whole(condition_kernels(x, y, own=False))
    assert found == pytest.approx(np.mean(xx) + np.mean(yy) - 2 * np.mean(xy))


def test_an_output_is_not_set_against_the_picture_it_was_made_from():
    x, y = normal(5, 2, 4).numpy(), normal(5, 4, seed=1).numpy()
    k = condition_kernels(x, y, own=True)
    across = [np.mean([(p @ y[j] / 4 + 1) ** 3 for p in x[i] for j in range(5) if j != i]) for i in range(5)]
    np.testing.assert_allclose(k.xy[:, 0], across)
    without = [condition_kernels(np.delete(x, i, 0), y, own=False) for i in range(5)]
    assert len(per_z(k)) == 5
    assert all(one.xy.shape == (4, 5) for one in without)


def test_copies_of_an_output_narrow_no_interval():
    x, y = normal(8, 1, 4), normal(9, 4, seed=1).numpy()
    c = counts(8, 200, 0)
    once, _ = kid_of(x, y, False, c, "a")
    often, _ = kid_of(x.expand(8, 10, 4), y, False, c, "a")
    assert often.value == pytest.approx(once.value)
    np.testing.assert_allclose(often.resampled, once.resampled)
    assert (once.fakes, often.fakes, often.sources) == (8, 80, 8)
    np.testing.assert_allclose(once.resampled, resampled(kernels(x[:, 0].numpy(), y), c))


def test_a_resample_of_one_source_alone_has_no_estimate():
    k = kernels(normal(3, 4).numpy(), normal(4, 4, seed=1).numpy())
    found = resampled(k, np.array([[3.0, 0, 0], [1, 1, 1]]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(whole(k))


def test_distances_of_outputs_are_those_of_loops():
    drawn = normal(2, 3, 3, 4, 4).float()
    taps = Plain().taps(drawn.flatten(0, 1))
    for row, mine in enumerate(drawn):
        loops = [distance_by_loops(p, q) for p, q in itertools.combinations(mine, 2)]
        assert float(apart(taps, 3)[row]) == pytest.approx(np.mean(loops), rel=1e-5)
        pixels = [float((p - q).abs().mean()) for p, q in itertools.combinations(mine, 2)]
        assert float(pixels_apart(drawn)[row]) == pytest.approx(np.mean(pixels), rel=1e-5)


def test_the_collapse_probe_is_zero_for_a_collapsed_generator_alone():
    drawn = normal(2, 3, 3, 4, 4).float()
    assert collapse_probe(drawn[:, :1].expand(2, 3, 3, 4, 4), Plain()) == {"pixels_apart": 0, "apart": 0}
    assert collapse_probe(drawn, Plain())["apart"] > 0.1


def test_raw_outputs_are_looked_at_twice_and_features_are_of_saved_ones():
    drawn = normal(2, 3, 3, 4, 4).float() * 2
    eye = Plain()
    clean, raw = look(drawn, eye, quantised=True), look(drawn, eye, quantised=False)
    assert eye.looked_at == 6 + 12
    assert torch.equal(clean.features, raw.features)
    assert not torch.equal(clean.apart, raw.apart)


def test_results_are_plain_data_and_nothing_is_called_what_it_is_not(heldout):
    for protocol in ("clean", "stargan2"):
        judgement = judged(heldout, protocol=protocol, within=True)
        found = judgement.as_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert not re.search(r"\b(fid|lpips|inception)\b", json.dumps(found), re.IGNORECASE)
        for score in judgement.scores:
            assert score.protocol["name"] == protocol
            assert {"outputs", "seed", "order", "codes", "references", "interval"} <= set(score.protocol)
        assert judgement.arrays["kid_latent.a.b"].shape == (7,)


@pytest.mark.parametrize("what", ["heldout", "seed", "protocol", "names"])
def test_any_other_input_gives_another_hash(what, heldout):
    base = judged(heldout).inputs_hash
    changed = {
        "heldout": lambda: judged({**heldout, "a": heldout["a"][1:]}),
        "seed": lambda: judged(heldout, seed=1),
        "protocol": lambda: judged(heldout, protocol="stargan2"),
        "names": lambda: judged({"a": heldout["b"], "b": heldout["a"], "c": heldout["c"]}),
    }[what]()
    assert changed.inputs_hash != base


def test_unknown_domains_and_nan_are_refused(heldout):
    with pytest.raises(GraftError, match="does not know d"):
        judged({**heldout, "d": heldout["a"]})
    with pytest.raises(GraftError, match="no domain"):
        judged({})
    broken = Tinting(strength=float("nan"))
    with pytest.raises(GraftError, match="not finite"):
        judged(heldout, broken)


def test_pairs_are_ordered_and_within_comes_last():
    assert pairs_of(["a", "b"], False) == [("a", "b"), ("b", "a")]
    assert pairs_of(["a", "b"], True)[2:] == [("a", "a"), ("b", "b")]
    assert pairs_of(["a"], False) == [("a", "a")]
