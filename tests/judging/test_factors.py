"""Factor classifiers, labels of factors, and what is found to survive a translation."""

import json

import pytest
import torch
from tinted import Tinting

from models.judges.classifier import Classifier
from pipeline.errors import GraftError
from pipeline.judging.factor_labels import Factor, factors_of, hair, lab, skin
from pipeline.judging.factors import accuracy, train_factor_classifier
from pipeline.judging.settings import Translating
from pipeline.judging.survival import agreement, survival

SETTINGS = Translating(outputs=3, resamples=100)


def shaded(bright, seed=0):
    """Pictures 8 x 8, dark or bright, with some noise: uint8 [n, 3, 8, 8]."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 60, (len(bright), 3, 8, 8), generator=rng)
    return (noise + 150 * torch.tensor(bright).view(-1, 1, 1, 1)).to(torch.uint8)


class Bright(torch.nn.Module):
    """A classifier that is always right: 1 where the mean is over 0."""

    name = "factor_classifier"

    def __init__(self):
        super().__init__()
        self.none = torch.nn.Parameter(torch.zeros(1))

    def predicted(self, pictures):
        return (pictures.mean((1, 2, 3)) > 0).long()


class Keeping(Tinting):
    """Outputs are the source, whatever guides them."""

    def decode(self, encoded, codes):
        return encoded["half"] * 2


class Taking(Tinting):
    """Outputs are flat colours: noise's, or the reference's mean."""

    def decode(self, encoded, codes):
        return encoded["half"] * 0 + codes[:, :, None, None]


HELD = {"a": shaded([0, 1, 1, 0, 1, 0]), "b": shaded([1, 1, 0, 1], 1)}
GLASSES = {
    "glasses": Factor(
        ("no", "yes"), {"a": torch.tensor([0, 1, 1, 0, -1, 0]), "b": torch.tensor([1, 1, 0, 1])}
    )
}


def survived(translator, fields=GLASSES, held=HELD, **more):
    settings = SETTINGS.model_copy(
        update={key: more.pop(key) for key in ("within", "protocol") if key in more}
    )
    found = survival(translator, held, fields, {"glasses": Bright()}, settings, **more)
    return {score.name: score for score in found}


def test_what_is_bright_is_learnt_and_the_same_seed_learns_the_same():
    labels = torch.arange(24) % 2
    pictures = shaded(labels.tolist())
    one, other = (train_factor_classifier(pictures, labels, 2, 3, 12, "cpu") for _ in range(2))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        assert not first.requires_grad
    score = accuracy(one, shaded([0, 1] * 20, 5), torch.arange(40) % 2)
    assert score.value > 0.9
    assert not one.training


def test_training_leaves_the_worlds_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train_factor_classifier(shaded([0, 1]), torch.tensor([0, 1]), 2, 3, 1, "cpu")
    assert torch.equal(torch.rand(1), expected)


def test_sides_are_learnt_only_without_flips():
    """Left and right half bright: mirrored halves of the batch make them one."""
    side = torch.arange(16) % 2
    pictures = torch.zeros(16, 3, 8, 8, dtype=torch.uint8)
    for row, right in enumerate(side.tolist()):
        pictures[row, :, :, 4 * right : 4 * right + 4] = 200
    plainly = train_factor_classifier(pictures, side, 2, 0, 15, "cpu", flips=False)
    flipped = train_factor_classifier(pictures, side, 2, 0, 15, "cpu", flips=True)
    assert accuracy(plainly, pictures, side).value == 1
    x = pictures.float() / 127.5 - 1
    confident = [net(x).softmax(1).max(1).values.mean() for net in (plainly, flipped)]
    assert confident[0] > confident[1] + 0.1


def test_unknown_labels_are_left_out_and_wrong_ones_refused():
    pictures = shaded([0, 1, 1])
    with_junk = torch.cat([pictures, pictures[:1]])
    one = train_factor_classifier(pictures, torch.tensor([0, 1, 1]), 2, 0, 2, "cpu")
    other = train_factor_classifier(with_junk, torch.tensor([0, 1, 1, -1]), 2, 0, 2, "cpu")
    assert torch.equal(one.head.weight, other.head.weight)
    for labels in ([0, 1, 2], [-1, -1, -1]):
        with pytest.raises(GraftError, match="labels from 0 to 1"):
            train_factor_classifier(pictures, torch.tensor(labels), 2, 0, 2, "cpu")


def test_a_pictures_answer_does_not_depend_on_its_batch():
    classifier, x = Classifier(3, width=8), torch.rand(5, 3, 20, 20) * 2 - 1
    alone = torch.cat([classifier(one[None]) for one in x])
    torch.testing.assert_close(classifier(x), alone, rtol=1e-4, atol=1e-5)
    assert classifier.predicted(x).tolist() == alone.argmax(1).tolist()


def test_accuracy_is_a_share_with_wilsons_interval_and_the_share_of_never_looking():
    labels = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1, 0, 1, -1])
    score = accuracy(Bright(), shaded([0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0]), labels)
    assert (score.value, score.n) == (0.8, 10)
    # Wilson, worked by hand: (0.8 + 0.19207) / 1.38415 -+ 1.41605 sqrt(0.016 + 0.0096036).
    assert (score.low, score.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert score.detail["commonest"] == 0.8
    assert score.detail["balanced"] == pytest.approx((0.5 + 7 / 8) / 2)
    nothing = accuracy(Bright(), shaded([0]), torch.tensor([-1]))
    assert nothing.value is None


def test_agreement_stands_beside_what_chance_would_reach():
    """Predicted 1 in 3 of 4; wanted 1 in 2 of 4: by chance 3/4 1/2 + 1/4 1/2."""
    share = agreement(torch.tensor([[1, 1], [1, 0], [1, 1]]), torch.tensor([[1, 0], [1, 0], [-1, -1]]), 2)
    assert (share.value, share.chance, share.fakes, share.sources) == (0.75, 0.5, 4, 2)
    assert agreement(torch.tensor([[1]]), torch.tensor([[-1]]), 1) is None


def test_a_translator_that_keeps_its_source_keeps_every_factor_and_reaches_no_domain():
    scores = survived(Keeping(names=("a", "b")), domains=Bright())
    kept = scores["glasses_kept_latent"]
    assert (kept.value, kept.high, kept.n) == (1, 1, 3 * (5 + 4))
    assert kept.detail["sources"] == 9
    assert kept.detail["accuracy"] == 1
    part = kept.detail["parts"]["a to b"]
    # Of the five sources that are known, two have glasses, and so do their outputs.
    assert part["chance"] == pytest.approx(0.4**2 + 0.6**2)
    assert (part["sources"], part["fakes"], part["accuracy"]) == (5, 15, 1)
    assert part["low"] == pytest.approx(1 / (1 + 1.959964**2 / 5), abs=1e-4)
    assert scores["domain_reached_latent"].detail["parts"]["a to b"]["value"] == 0.5
    assert list(scores) == [
        "domain_reached_latent",
        "glasses_kept_latent",
        "domain_reached_reference",
        "glasses_kept_reference",
        "glasses_taken_reference",
    ]


def test_a_translator_that_takes_its_reference_takes_every_factor():
    scores = survived(Taking(names=("a", "b")))
    taken = scores["glasses_taken_reference"]
    assert taken.value == 1
    assert taken.detail["parts"]["a to b"]["sources"] == 4
    assert scores["glasses_kept_reference"].value < 1


def test_pairs_of_unknown_labels_are_left_out_by_name():
    held = {**HELD, "c": shaded([1, 0, 0], 2)}
    fields = {"glasses": Factor(("no", "yes"), {**GLASSES["glasses"].labels, "c": torch.full((3,), -1)})}
    scores = survived(Keeping(), fields, held)
    kept = scores["glasses_kept_latent"]
    assert list(kept.detail["parts"]) == ["a to b", "b to a"]
    assert kept.detail["left_out"] == ["a to c", "b to c", "c to a", "c to b"]
    taken = scores["glasses_taken_reference"].detail["parts"]
    assert list(taken) == ["a to b", "b to a", "c to a", "c to b"]
    nothing = survived(Keeping(), {"glasses": Factor(("no", "yes"), {})}, held)["glasses_kept_latent"]
    assert nothing.value is None
    assert "known labels" in nothing.detail["reason"]


@pytest.mark.parametrize("protocol", ["clean", "stargan2"])
def test_within_domains_stand_apart_and_results_are_plain_data(protocol):
    scores = survived(Keeping(names=("a", "b")), within=True, protocol=protocol)
    assert scores["glasses_kept_reference_within"].value == 1
    found = [score.as_dict() for score in scores.values()]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_labels_must_be_those_of_the_pictures_and_domain_is_no_factor():
    short = {"glasses": Factor(("no", "yes"), {"a": torch.tensor([0, 1])})}
    with pytest.raises(GraftError, match="a: 2 labels for 6"):
        survived(Keeping(names=("a", "b")), short)
    with pytest.raises(GraftError, match="domain"):
        survived(Keeping(names=("a", "b")), {"domain": GLASSES["glasses"]})


def test_factors_are_read_from_attributes_and_null_is_unknown():
    common = {
        "a": [
            {"glasses": True, "skin": "#f2d3b1", "hat": None},
            {"glasses": None, "skin": "#763900", "hat": None},
        ],
        "b": [{"glasses": False, "hair_colour": "#0e0e0e"}],
    }
    found = factors_of(common)
    assert list(found) == ["glasses", "skin", "hair_colour"]
    assert found["glasses"].labels["a"].tolist() == [1, -1]
    assert found["skin"].values == ("dark", "medium", "light")
    assert found["skin"].labels["a"].tolist() == [2, 0]
    assert found["skin"].labels["b"].tolist() == [-1]
    assert not found["skin"].known("b")
    with pytest.raises(GraftError, match="size: 3"):
        factors_of({"a": [{"size": 3}]})


def test_colours_are_binned_by_the_rule():
    assert [skin(colour) for colour in ("#763900", "#9e5622", "#b98e6a", "#ecad80")] == [
        "dark",
        "medium",
        "medium",
        "light",
    ]
    named = {
        "#000000": "black",
        "#ffffff": "grey",
        "#afafaf": "grey",
        "#6a4e35": "brown",
        "#ab2a18": "brown",
        "#e5d7a3": "fair",
        "#6bd9e9": "dyed",
        "#fc909f": "dyed",
    }
    assert {colour: hair(colour) for colour in named} == named


@pytest.mark.parametrize(
    ("colour", "expected"),
    [("#ffffff", (100, 0, 0)), ("#ff0000", (53.24, 80.09, 67.20)), ("#0000ff", (32.30, 79.19, -107.86))],
)
def test_lab_has_the_published_values_of_srgbs_corners(colour, expected):
    assert lab(colour) == pytest.approx(expected, abs=0.1)
