"""The committed configs of DCGAN, BicycleGAN and DRIT, run tiny: trained, judged, sampled from, judged again alike."""

import json
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.opening import open_any
from tests.data.drawn import picture
from tests.miniature import NETWORKS

ROOT = Path(__file__).parents[1]
CONFIGS = {"dcgan": "dcgan_mnist", "bicycle": "bicycle_emoji", "drit": "drit_avatars"}
QUICK = {
    "dcgan": ["by_class.n=4", "by_class.members=3", "by_class.resamples=100"],
    "bicycle": ["pairing.outputs=2", "pairing.resamples=100"],
    "drit": ["translate.outputs=2", "translate.resamples=100"],
}
ASKED = {"dcgan": ["--to", "cat"], "bicycle": ["--pictures", "pairs"], "drit": ["--pictures", "domains"]}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Domains, or classes, and pairs, each with held-out pictures."""
    room = tmp_path_factory.mktemp("kinds")
    for split, count in (("train", 6), ("test", 3)):
        for number in range(count):
            for place, name in enumerate(("cat", "dog")):
                (room / "domains" / split / name).mkdir(parents=True, exist_ok=True)
                own = picture(100 * place + 10 * count + number, 32, 32)
                own.save(room / "domains" / split / name / f"{number}.png")
            (room / "pairs" / split).mkdir(parents=True, exist_ok=True)
            for side in "ab":
                picture(ord(side) + 50 * count + number, 32, 32).save(
                    room / "pairs" / split / f"{number}.{side}.png"
                )
    return room


@pytest.mark.parametrize("kind", sorted(CONFIGS))
@pytest.mark.slow
def test_a_committed_config_trains_and_its_model_is_judged_alike_by_evaluate(
    room, tmp_path, monkeypatch, kind
):
    monkeypatch.chdir(room)
    tiny = [f"network.{key}={value}" for key, value in NETWORKS[kind].items()]
    train = "pairs" if kind == "bicycle" else "domains"
    words = [f"train={train}", "steps=2", "batch=4", *tiny, *QUICK[kind]]
    words += ["settings.domains=[cat,dog]"] if kind == "drit" else []
    runs, exports = tmp_path / "runs", tmp_path / "exports"
    places = ["--runs", str(runs), "--exports", str(exports), "--tracker", "none", "--device", "cpu"]
    config = str(ROOT / "configs" / f"pretrain_{CONFIGS[kind]}.yaml")
    assert cli.main(["pretrain", config, *words, "every.save=1", "every.sample=1", *places]) == 0
    run = next(path for path in runs.iterdir() if path.name != "cache")
    assert [path.name for path in sorted((run / "samples").iterdir())] == [f"00000{n}.png" for n in range(3)]
    ended = {one["name"]: one["value"] for one in json.loads((run / "result.json").read_text())["scores"]}
    assert ended
    (model,) = exports.iterdir()
    (run / "model" / "config.json").rename(
        run / "model" / "card.json"
    )  # now only its newest checkpoint is left
    for number, where in enumerate((model, run)):
        assert open_any(str(where)).kind == kind
        out = tmp_path / f"out{number}"
        assert cli.main(["sample", str(where), "--out", str(out), "--count", "1", *ASKED[kind]]) == 0
        assert any(out.glob("*-000.png"))
        found = tmp_path / f"found{number}.json"
        asked = ["evaluate", str(where), *QUICK[kind], "--device", "cpu", "--json", str(found)]
        assert cli.main(asked) == 0
        again = {one["name"]: one["value"] for one in json.loads(found.read_text())["scores"]}
        assert {name: again[name] for name in ended} == pytest.approx(ended)
