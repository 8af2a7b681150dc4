import pytest
import torch

from pipeline.methods import METHODS
from pipeline.phase import Adam, Average, Method, Phase, Ramp, Term, When, pulling

CDC = """\
cdc  D_image  trains D        every 4         1 real   1 fake
     D_patch  trains D+heads  every 1 skip 4  1 real   1 fake
     R1       trains D        every 16        5 r1   (all times 16)
     G_image  trains G        every 4         1 fool   1000 distance
     G_patch  trains G        every 1 skip 4  1 fool   1000 distance
     path     trains G        every 4         2 path   (all times 4)"""


def phase(*terms: Term, name: str = "G", when: When | None = None, gain: float = 1.0) -> Phase:
    return Phase(name, ("G",), lambda nets, draws: {}, terms, when or When(), gain)


def term(name: str, weight: float | Ramp = 1.0, when: When | None = None) -> Term:
    return Term(name, torch.mean, (name,), weight, when or When())


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        (When(), list(range(12))),
        (When(every=4), [0, 4, 8]),
        (When(skip=4), [1, 2, 3, 5, 6, 7, 9, 10, 11]),
        (When(every=2, skip=4), [2, 6, 10]),
        (When(start=5), [5, 6, 7, 8, 9, 10, 11]),
        (When(every=3, start=4, stop=10), [6, 9]),
        (When(stop=0), []),
    ],
)
def test_a_phase_runs_when_its_four_numbers_say(when: When, steps: list[int]) -> None:
    assert [step for step in range(12) if when(step)] == steps


def test_image_and_patch_rows_share_the_steps_without_gap_or_overlap() -> None:
    image, patch = When(every=4), When(skip=4)
    assert all(image(step) != patch(step) for step in range(50))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (When(), "every 1"),
        (When(every=4, start=2), "every 4 from 2"),
        (When(skip=4, stop=9), "every 1 skip 4 until 9"),
    ],
)
def test_a_when_reads_as_words(when: When, words: str) -> None:
    assert str(when) == words


def test_a_ramp_goes_straight_and_stays() -> None:
    ramp = Ramp(1.0, 0.0, 10)
    assert [ramp(step) for step in (0, 5, 10, 11, 1000)] == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert term("diverse", ramp).weight_at(2) == pytest.approx(0.8)
    assert term("fool", 0.3).weight_at(2) == 0.3


def test_the_table_of_cdc_is_printed_exactly_so() -> None:
    entry = METHODS["cdc"]
    assert entry.table(entry.settings()).table() == CDC


def test_a_table_shows_ramps_terms_with_steps_of_their_own_and_the_gain() -> None:
    rows = (
        phase(term("fool"), term("diverse", Ramp(1.0, 0.0, 5)), name="G_latent"),
        phase(term("cross", 0.4, When(every=6)), name="G", when=When(every=2), gain=2),
    )
    method = Method("m", rows, {"G": Adam(0.1, (0.0, 0.9))}, {})
    assert method.table().split("\n") == [
        "m  G_latent  trains G  every 1  1 fool   1~0 diverse",
        "   G         trains G  every 2  0.4 cross (every 6)   (all times 2)",
    ]


def test_terms_of_weight_zero_do_not_pull_and_a_phase_without_terms_does_not_run() -> None:
    kept = pulling(
        phase(term("fool"), term("self", 0.0)), phase(term("r1", 0.0)), phase(term("x", Ramp(0.0, 1.0, 3)))
    )
    assert [[t.name for t in p.terms] for p in kept] == [["fool"], ["x"]]


def test_an_average_forgets_half_in_its_half_life_and_faster_at_the_start() -> None:
    steady = Average(312.5)
    assert steady.decay(0) == steady.decay(10_000) == pytest.approx(0.99778438712)
    assert steady.decay(0) ** 312.5 == pytest.approx(0.5)
    ramped = Average(312.5, ramp=0.05)
    assert ramped.decay(19) == pytest.approx(0.5)
    assert ramped.decay(100_000) == pytest.approx(steady.decay(0))
    assert all(ramped.decay(step) <= ramped.decay(step + 1) for step in range(100))
