"""What a translation keeps, against numbers worked out by hand, and what chance would have."""

import pytest
import torch

from pipeline.judging.codes import noise
from pipeline.judging.evaluator import as_saved
from pipeline.judging.kept import kept_scores
from pipeline.judging.settings import Translating
from tests.judging.tinted import Plain, Tinting, distance_by_loops, pictures

SETTINGS = Translating(resamples=100, batch=2)


class Nothing:
    """Changes nothing, and reads a style of zeros from everything."""

    names, latent_dim = ("a", "b"), 3

    def encode(self, pictures):
        return pictures

    def latent_codes(self, z, target):
        return z

    def reference_codes(self, pictures, target):
        return torch.zeros(len(pictures), 3)

    def decode(self, encoded, codes):
        return encoded


class Written(Nothing):
    """Writes the style that is asked for into the picture, so that it can be read back; asks for tame ones."""

    def latent_codes(self, z, target):
        return as_saved(z.tanh()[:, :, None, None])[:, :, 0, 0]

    def reference_codes(self, pictures, target):
        return pictures[:, :, 0, 0]

    def decode(self, encoded, codes):
        return codes[:, :, None, None].expand(-1, -1, 4, 4)


def scores_of(translator, held, **more):
    found = kept_scores(translator, held, SETTINGS, Plain(), **more)
    return {score.name: score for score in found}


def test_nothing_is_lost_by_a_translator_that_changes_nothing():
    scores = scores_of(Nothing(), {"a": pictures(3, 1), "b": pictures(3, 2)})
    assert scores["cycle"].value == 0
    assert scores["source_distance"].value == 0
    asked = [noise(2026, a, range(3), b, 1, 3).abs().mean() for a, b in (("a", "b"), ("b", "a"))]
    assert scores["style_recovery"].value == pytest.approx(float(sum(asked) / 2))


def test_a_style_that_is_written_into_the_picture_is_recovered_far_better_than_by_chance():
    scores = scores_of(Written(), {"a": pictures(6, 1), "b": pictures(5, 2)})
    style = scores["style_recovery"]
    assert style.value == pytest.approx(0, abs=1e-6)
    for (a, n, b), part in zip([("a", 6, "b"), ("b", 5, "a")], style.detail["parts"].values(), strict=True):
        asked = as_saved(noise(2026, a, range(n), b, 1, 3)[:, 0].tanh()[:, :, None, None])[:, :, 0, 0]
        others = torch.stack([asked[i] - asked[i - 1] for i in range(n)]).abs().mean()
        assert part["chance"] == pytest.approx(float(others), abs=1e-6)
        assert part["chance"] > 0.1


def test_every_number_is_what_a_loop_over_sources_gives():
    held = {"a": pictures(3, 1), "b": pictures(4, 2)}
    translator = Tinting(names=("a", "b"))
    scores = scores_of(translator, held)
    wanted = {"style_recovery": [], "cycle": [], "source_distance": []}
    for own, other in ((0, 1), (1, 0)):
        source, target = translator.names[own], translator.names[other]
        means = dict.fromkeys(wanted, 0.0)
        n = len(held[source])
        for row in range(n):
            x = held[source][row].double() / 127.5 - 1
            z = noise(2026, source, range(row, row + 1), target, 1, 3)[0, 0]
            style = z.tanh().double() * 0.3 + 0.2 * other
            output = as_saved((x / 2 + style[:, None, None])[None].float())[0].double()
            read = output.mean((1, 2))
            back = as_saved((output / 2 + x.mean((1, 2))[:, None, None])[None].float())[0].double()
            means["style_recovery"] += float((read - style).abs().mean()) / n
            means["cycle"] += float((back - x).abs().mean()) / n
            means["source_distance"] += distance_by_loops(x, output) / n
        for name, value in means.items():
            wanted[name].append(value)
    for name, values in wanted.items():
        assert scores[name].value == pytest.approx(sum(values) / 2, rel=1e-4), name
        assert scores[name].low <= scores[name].value <= scores[name].high


def test_only_the_numbers_of_a_code_that_are_style_count():
    class Told(Written):
        """Its codes end with the number of the target, which is right without being read."""

        def latent_codes(self, z, target):
            return torch.cat([super().latent_codes(z, target), torch.full((len(z), 1), float(target))], 1)

        def reference_codes(self, pictures, target):
            return torch.cat(
                [torch.zeros(len(pictures), 3), torch.full((len(pictures), 1), float(target))], 1
            )

        def decode(self, encoded, codes):
            return super().decode(encoded, codes[:, :3])

    held = {"a": pictures(3, 1), "b": pictures(3, 2)}
    everything = scores_of(Told(), held)["style_recovery"].value
    style = scores_of(Told(), held, style_dim=3)["style_recovery"].value
    assert style == pytest.approx(everything * 4 / 3)


def test_of_one_source_there_is_no_chance_to_speak_of():
    scores = scores_of(Written(), {"a": pictures(1, 1), "b": pictures(1, 2)})
    assert all("chance" not in part for part in scores["style_recovery"].detail["parts"].values())
