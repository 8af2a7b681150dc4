"""One judgement: what it depends on, what it does not, and what it says of itself."""

import json
import re
from dataclasses import dataclass

import pytest
import torch

from models.judges import Seen, find_edges, find_eye
from models.judges.eye import unit_channels
from pipeline.errors import GraftError
from pipeline.judging import Judging, judge
from pipeline.judging.evaluator import as_saved, latents

SETTINGS = Judging(n=24, batch=8, kid_subsets=5, resamples=100, spread=10)


@dataclass
class Plain:
    """An eye that looks at 4 x 4 means; counts its pictures."""

    name: str = "plain"
    sha256: str = "0"
    looked_at: int = 0

    def see(self, pictures):
        self.looked_at += len(pictures)
        small = torch.nn.functional.adaptive_avg_pool2d(pictures, 4)
        return Seen(small.flatten(1), [unit_channels(small)])

    def features(self, pictures):
        return self.see(pictures).features

    def taps(self, pictures):
        return self.see(pictures).taps


def draw(z):
    """Pictures 16 x 16 of z [B, 4]: two bars whose places and colours z says; smooth in z."""
    at = torch.linspace(-1, 1, 16)
    rows = torch.tanh(6 * (at - z[:, :1]))[:, None, :, None]
    columns = torch.tanh(6 * (at - z[:, 1:2]))[:, None, None, :]
    colour = z[:, 1:4].tanh()[:, :, None, None]
    return (rows * columns * colour).clamp(-1, 1)


def inverted(z):
    return -draw(z)


def other(z):
    return draw(z.flip(1) * 0.5 + 0.3)


@pytest.fixture
def shots():
    return as_saved(draw(torch.randn(3, 4, generator=torch.Generator().manual_seed(5))))


@pytest.fixture
def heldout():
    return as_saved(inverted(torch.randn(30, 4, generator=torch.Generator().manual_seed(6))))


def judged(adapted, shots, heldout, settings=SETTINGS, source=draw, **more):
    more = {"style_dim": 4, "source_hash": "s", **more}
    return judge(adapted, source, shots, heldout, settings, Plain(), find_edges([]), **more)


def by_name(judgement):
    return {score.name: score for score in judgement.scores}


def test_all_metrics_are_there_with_network_n_and_interval(shots, heldout):
    judgement = judged(inverted, shots, heldout)
    assert [score.name for score in judgement.scores] == ["kid", "structure", "intra", "memorised"]
    for score in judgement.scores:
        assert score.n == 24
        assert score.low <= score.value <= score.high
        assert score.network == ("sobel" if score.name == "structure" else "plain")
        assert score.protocol


def test_results_are_plain_data(shots, heldout):
    found = judged(inverted, shots, heldout).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"scores", "inputs", "inputs_hash"}


def test_nothing_is_called_what_it_is_not(shots, heldout):
    text = json.dumps(judged(inverted, shots, heldout).as_dict())
    assert not re.search(r"\b(fid|lpips|scs|inception)\b", text, re.IGNORECASE)


@pytest.mark.parametrize("batch", [1, 5, 24, 100])
def test_batches_change_no_score(batch, shots, heldout):
    settings = SETTINGS.model_copy(update={"batch": batch})
    one, other_one = judged(other, shots, heldout), judged(other, shots, heldout, settings)
    for first, second in zip(one.scores, other_one.scores, strict=True):
        assert (first.value, first.low, first.high) == pytest.approx(
            (second.value, second.low, second.high), rel=1e-5, abs=1e-6
        )
    assert one.inputs_hash == other_one.inputs_hash


def test_batches_change_no_score_with_the_built_in_networks(shots, heldout):
    def found(batch):
        settings = SETTINGS.model_copy(update={"batch": batch})
        networks = find_eye([]), find_edges([])
        return judge(other, draw, shots, heldout, settings, *networks, style_dim=4, source_hash="s").scores

    for first, second in zip(found(7), found(24), strict=True):
        assert first.value == pytest.approx(second.value, rel=1e-3, abs=1e-5)


def test_per_z_values_average_to_their_scores(shots, heldout):
    judgement = judged(other, shots, heldout)
    scores = by_name(judgement)
    for name in ("structure", "intra", "memorised"):
        assert judgement.arrays[name].shape == (24,)
        assert float(judgement.arrays[name].mean()) == pytest.approx(scores[name].value, rel=1e-4)
    assert float(judgement.arrays["kid"].mean()) == pytest.approx(scores["kid"].detail["whole"], rel=1e-3)
    assert judgement.arrays["features"].shape == (24, 48)
    assert judgement.arrays["features"].dtype == torch.float16
    assert judgement.arrays["nearest"].shape == (24,)


def test_the_source_itself_keeps_all_structure_and_noise_keeps_little(shots, heldout):
    same = by_name(judged(draw, shots, heldout))["structure"].value
    noise = by_name(judged(lambda z: torch.randn(len(z), 3, 16, 16), shots, heldout))["structure"].value
    assert same == pytest.approx(1, abs=1e-6)
    assert noise < 0.8


def test_kid_is_lowest_for_what_was_held_out(shots, heldout):
    near = by_name(judged(inverted, shots, heldout))["kid"].value
    far = by_name(judged(lambda z: draw(z) * 0 + 1, shots, heldout))["kid"].value
    assert near < far


@pytest.mark.parametrize("count", [1, 3])
def test_copying_the_training_pictures_is_found_mirrored_too(count, shots, heldout):
    few = shots[:count]

    def copies(z):
        picked = few[(torch.arange(len(z)) % count)]
        return picked.flip(3) if len(z) % 2 else picked

    found = by_name(judged(copies, few, heldout))
    assert found["memorised"].value == 1
    assert by_name(judged(other, few, heldout))["memorised"].value < 0.5
    assert found["intra"].value == pytest.approx(0, abs=1e-6)


def test_without_held_out_pictures_there_is_no_kid(shots):
    judgement = judged(other, shots, None)
    assert "kid" not in by_name(judgement)
    assert "kid" not in judgement.arrays


def test_a_generator_that_draws_nan_cannot_be_judged(shots, heldout):
    with pytest.raises(GraftError, match="not finite"):
        judged(lambda z: draw(z) * float("nan"), shots, heldout)


def test_the_evaluation_z_are_fixed_by_the_seed():
    first = latents(SETTINGS, 4)
    assert torch.equal(first, latents(SETTINGS.model_copy(update={"batch": 3}), 4))
    assert not torch.equal(first, latents(SETTINGS.model_copy(update={"seed": 1}), 4))


@pytest.mark.parametrize("what", ["shots", "heldout", "source", "seed"])
def test_any_other_input_gives_another_hash(what, shots, heldout):
    base = judged(other, shots, heldout).inputs_hash
    changed = {
        "shots": lambda: judged(other, shots[:2], heldout),
        "heldout": lambda: judged(other, shots, heldout[1:]),
        "source": lambda: judged(other, shots, heldout, source_hash="t"),
        "seed": lambda: judged(other, shots, heldout, SETTINGS.model_copy(update={"seed": 1})),
    }[what]()
    assert changed.inputs_hash != base


def test_source_and_held_out_are_looked_at_once_for_many_methods(shots, heldout):
    kept = {}

    def cache(key, make):
        return kept[key] if key in kept else kept.setdefault(key, make())

    drawn = []

    def source(z):
        drawn.append(len(z))
        return draw(z)

    first = judged(other, shots, heldout, source=source, cache=cache)
    second = judged(other, shots, heldout, source=source, cache=cache)
    assert sum(drawn) == 24
    assert len(kept) == 2
    assert first.scores == second.scores
    assert first.scores == judged(other, shots, heldout).scores
    judged(other, shots, heldout, source=source, source_hash="t", cache=cache)
    assert sum(drawn) == 48


def test_every_generated_picture_goes_through_the_eye_once(shots):
    eye = Plain()
    judge(other, draw, shots, None, SETTINGS, eye, find_edges([]), style_dim=4, source_hash="s")
    assert eye.looked_at == 24 + 2 * len(shots) + SETTINGS.spread


def test_pictures_are_judged_as_they_would_be_saved():
    x = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0])
    assert (as_saved(x) * 127.5 + 127.5).round().tolist() == [0, 0, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_saved(as_saved(levels)), as_saved(levels))
