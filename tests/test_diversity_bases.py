"""One term for any conditional generator: DivCo's contrast, the same function of the same features, on four bases."""

from collections.abc import Sequence

import pytest
import torch

from losses import diversity as losses
from pipeline.job import chosen
from pipeline.methods import PRETRAINING, diversity
from pipeline.phase import Term
from tests import miniature

BASES = ("stargan2", "dcgan", "bicycle", "drit")
# In which row of each base the contrast pulls, and the diversity terms that its card documents.
ROW = {"stargan2": "G_latent", "dcgan": "G", "bicycle": "G", "drit": "EG2"}
DOCUMENTED = {
    "stargan2": {"ds", "mode_seeking", "divco", "latent_regression", "distance"},
    "dcgan": {"ds", "mode_seeking", "divco"},
    "bicycle": {"ds", "mode_seeking", "divco", "latent_regression"},
    "drit": {"ds", "mode_seeking", "divco", "latent_regression", "distance"},
}


def terms_of(name: str, on: Sequence[str] | str) -> dict[str, dict[str, Term]]:
    job = miniature.job_of(name, diversity=on)
    method = PRETRAINING[name].table(job.method_settings())
    return {phase.name: {term.name: term for term in phase.terms} for phase in method.phases}


def plain(name: str) -> dict[str, set[str]]:
    return {row: set(terms) for row, terms in terms_of(name, "none").items()}


@pytest.mark.parametrize("name", BASES)
def test_each_base_has_the_documented_terms_and_none_of_them_without(name):
    assert set(chosen((), PRETRAINING[name])) == DOCUMENTED[name]
    assert not any(terms & DOCUMENTED[name] for terms in plain(name).values())


@pytest.mark.parametrize(
    ("name", "term"), [(name, term) for name in BASES for term in sorted(DOCUMENTED[name])]
)
def test_with_a_term_on_exactly_it_is_more_than_without(name, term):
    more: set[str] = set()
    for row, terms in terms_of(name, term).items():
        assert plain(name)[row] <= set(terms)
        more |= set(terms) - plain(name)[row]
    assert more == ({term} if (name, term) != ("stargan2", "latent_regression") else set())
    if not more:
        styles = [terms_of(name, on)["G_latent"]["style"].weight for on in ("none", term)]
        assert styles[1] == pytest.approx(styles[0] + diversity.DIVERSITY[term])


@pytest.mark.parametrize("name", BASES)
def test_the_contrast_is_one_term_in_one_row_of_every_base(name):
    pulled = {row: terms["divco"] for row, terms in terms_of(name, "divco").items() if "divco" in terms}
    assert set(pulled) == {ROW[name]}
    term = pulled[ROW[name]]
    assert (term.loss, term.reads, term.weight) == (
        diversity.averaged,
        ("divco",),
        diversity.DIVERSITY["divco"],
    )


@pytest.mark.parametrize("name", BASES)
def test_what_it_pulls_is_the_one_contrast_of_losses(name, monkeypatch):
    """The function object of losses.diversity is what every base calls, and what it returns is what is logged."""
    assert diversity.contrast is losses.contrast
    seen: list[torch.Tensor] = []

    def watched(features: torch.Tensor, temperature: float, normalise: bool) -> torch.Tensor:
        assert len(features) == 3 + 2  # query, positive, three negatives
        seen.append(losses.contrast(features, temperature, normalise))
        return seen[-1]

    monkeypatch.setattr(diversity, "contrast", watched)
    trainer = miniature.trainer(name, diversity="divco", settings={"divco_negatives": 3})
    trainer.step()
    assert len(seen) == (2 if name == "drit" else 1)  # there both directions are added
    logged = trainer.readings()[f"{ROW[name]}/divco"]
    assert logged == pytest.approx(float(sum(each.mean() for each in seen)), rel=1e-5)
    monkeypatch.undo()
    without = miniature.trainer(name, diversity="none")
    without.step()
    assert not any(key.endswith("/divco") for key in without.readings())


@pytest.mark.parametrize("name", BASES)
def test_the_contrast_moves_the_generator_of_every_base(name):
    def after(weight: float) -> dict[str, torch.Tensor]:
        trainer = miniature.trainer(name, diversity="none", weights={"divco": weight})
        for _ in range(3):
            trainer.step()
        return {key: value for key, value in trainer.nets.state().items() if key.startswith("net/G/")}

    without, with_it = after(0.0), after(1.0)
    assert any(not torch.equal(without[key], with_it[key]) for key in without)
