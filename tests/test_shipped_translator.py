"""The shipped translator does what the README shows with it; pictures are held-out ones of the shipped set."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline import cli
from pipeline.data.domains import open_domains
from pipeline.families.labelled import held_of
from pipeline.inputs import eyes
from pipeline.judging.settings import Translating
from pipeline.judging.translation import judge_translation
from pipeline.opening import open_any
from pipeline.translation import Translation

FEW = 24
SETTINGS = Translating(outputs=2, resamples=100)


class Unmoved:
    """A translator that gives every picture back: what doing nothing would score."""

    latent_dim = 1

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def encode(self, pictures: Tensor) -> Tensor:
        return pictures

    def latent_codes(self, z: Tensor, target: int) -> Tensor:
        return z

    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        return torch.zeros(len(pictures), 1)

    def decode(self, encoded: Tensor, codes: Tensor) -> Tensor:
        return encoded


@pytest.fixture(scope="module")
def translator() -> Translation:
    found = open_any("avatars_64")
    assert isinstance(found, Translation)
    return found


@pytest.fixture(scope="module")
def heldout(translator: Translation) -> dict[str, Tensor]:
    domains = open_domains("avatar_styles", translator.layout.size, split="heldout")
    return {name: pictures[:FEW] for name, pictures in held_of(domains).items()}


def test_outputs_are_nearer_to_the_domain_asked_for_than_their_sources(translator, heldout):
    eye, _ = eyes(None, torch.device("cpu"))
    judged = {}
    for each in (translator, Unmoved(translator.names)):
        scores = {score.name: score for score in judge_translation(each, heldout, SETTINGS, eye).scores}
        judged[type(each)] = scores
    for mode in ("latent", "reference"):
        ours, theirs = (judged[each][f"kid_{mode}"] for each in (Translation, Unmoved))
        parts = ours.detail["parts"]
        assert all(parts[pair]["value"] < part["value"] for pair, part in theirs.detail["parts"].items())
        assert ours.value < theirs.value / 2


@torch.no_grad()
def test_a_reference_brings_its_skin(translator, heldout):
    """Of the middle of the face: outputs by the darkest references are darker than by the lightest, all of them."""
    for target, name in enumerate(translator.names):
        references = heldout[name].float() / 127.5 - 1
        order = middle(references).argsort()
        sources = torch.cat([pictures[:4] for other, pictures in heldout.items() if other != name])
        encoded = translator.encode(sources.float() / 127.5 - 1)
        shades = []
        for picked in (references[order[:3]], references[order[-3:]]):
            code = translator.reference_codes(picked, target).mean(0, keepdim=True)
            shades.append(middle(translator.decode(encoded, code.expand(len(sources), -1))))
        assert (shades[0] < shades[1]).all(), name


def middle(pictures: Tensor) -> Tensor:
    """Mean brightness [B] of the middle of pictures [B, 3, S, S]."""
    quarter = pictures.shape[-1] // 4
    return pictures[:, :, 2 * quarter - 8 : 2 * quarter + 8, 2 * quarter - 8 : 2 * quarter + 8].mean(
        (1, 2, 3)
    )


def test_the_command_of_the_readme_works_by_its_name(heldout, tmp_path, capsys):
    for number, picture in enumerate(heldout["toonHead"][:2]):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    out = tmp_path / "translated"
    words = ["--pictures", str(tmp_path), "--to", "micah", "--count", "3", "--grid", "--out", str(out)]
    assert cli.main(["sample", "avatars_64", *words]) == 0
    assert "2 translated to micah; 3 files of each" in capsys.readouterr().out
    assert len(list(out.glob("*--micah-00?.png"))) == 6
