"""What is wrong at a door is said there: one sentence, its exit code, and nothing has started."""

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import stargan2
from models.files import read_tensors, write_tensors
from models.stargan2 import Layout, MappingNetwork, StyleEncoder
from models.stylegan2 import Discriminator, Generator, Shape
from pipeline import cli, sweep
from pipeline.exporting import save_model
from pipeline.load import Model
from pipeline.translation import Translation
from tests.translators import class_model, drit_model, pair_model

ROOT = Path(__file__).parents[1]
SHAPE = Shape(32, {4: 8, 8: 8, 16: 8, 32: 8}, 16, 2)
CELL = {"source": "source", "target": "ten", "heldout": "hundred", "judge": {"n": 8}}
SPACE = {"rssa": {"weights.self": {"log": [0.1, 10]}}}
SEARCHED = {"grid": {"method": ["rssa"], "seed": [0, 1]}, "search": {"space": SPACE, "trials": 2}}
PRETRAIN = {"name": "tiny", "network": {"size": 32, "widths": {4: 8, 8: 8, 16: 8, 32: 8}}, "train": "ten"}


def draw(folder: Path, count: int, width: int = 32, height: int = 32) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for index in range(count):
        blocks = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(folder / f"{index:03d}.png")


def write_pictures(room: Path) -> None:
    draw(room / "ten", 10)
    draw(room / "hundred", 100)
    draw(room / "wide", 10, 64, 48)
    draw(room / "three", 3)
    (room / "empty").mkdir()
    draw(room / "broken", 10)
    (room / "broken" / "004.png").write_bytes((room / "broken" / "004.png").read_bytes()[:60])
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path in sorted((room / "hundred").iterdir()):
            archive.add(path, path.name)
    (room / "cut.tar").write_bytes(whole.getvalue()[:20000])


def write_translator(room: Path) -> None:
    layout = Layout(32, 2, 6, 4, 10, 256, 12)
    parts = (stargan2.Generator(layout), MappingNetwork(layout), StyleEncoder(layout))
    save_model(Translation(layout, ("cat", "dog"), *parts, about={"name": "pets"}), room / "translator")


def write_models(room: Path) -> None:
    generator, discriminator = Generator(SHAPE), Discriminator(SHAPE)
    whole = Model(SHAPE, generator, discriminator, None, torch.zeros(()), torch.zeros(16), {"name": "tiny"})
    names = ("source", "half", "missing", "narrow", "no_network", "not_json", "pickled", "unpaired")
    for name in names:
        save_model(whole, room / name)
    tensors = read_tensors(room / "source" / "model.safetensors")

    def rewrite(name: str, **changes: torch.Tensor | None) -> None:
        kept = {key: value for key, value in {**tensors, **changes}.items() if value is not None}
        write_tensors(room / name / "model.safetensors", kept)

    rewrite("missing", **{"G.conv1.activate.bias": None})
    rewrite("unpaired", **{key: None for key in tensors if key.startswith("D.")})
    content = (room / "source" / "model.safetensors").read_bytes()
    (room / "half" / "model.safetensors").write_bytes(content[: len(content) // 2])
    card = json.loads((room / "source" / "config.json").read_text())
    card["network"]["widths"]["16"] = 12
    (room / "narrow" / "config.json").write_text(json.dumps(card))
    (room / "no_network" / "config.json").write_text('{"kind": "stylegan2"}')
    (room / "not_json" / "config.json").write_text('{"kind": ')
    torch.save({"G": 1}, room / "pickled" / "model.pt")
    (room / "pickled" / "model.safetensors").write_bytes((room / "pickled" / "model.pt").read_bytes())
    draw(room / "strange", 1)
    (room / "strange" / "000.png").rename(room / "strange" / "000000.png")


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("doors")
    write_pictures(room)
    write_models(room)
    write_translator(room)
    save_model(class_model(), room / "classes")
    save_model(pair_model(), room / "paired")
    save_model(drit_model(), room / "drit")
    configs = {
        "a": CELL,
        "p": PRETRAIN,
        "s": {"name": "tiny", "job": CELL, "grid": {"method": ["tgan", "rssa"], "seed": [0]}},
        "q": {"name": "tiny", "job": CELL, **SEARCHED},
    }
    for name, values in configs.items():
        (room / f"{name}.yaml").write_text(json.dumps(values, indent=1))  # JSON is YAML too
    (room / "list.yaml").write_text("- 1\n")
    return room


def doors() -> list:
    lines = (Path(__file__).parent / "doors.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for typed, answer in pairwise(lines):
        if typed.startswith("$ "):
            code, _, sentence = answer.partition(" ")
            words = shlex.split(typed[2:])
            found.append(pytest.param(words, int(code), sentence, id=" ".join(words).replace("/", "_")))
    return found


@pytest.mark.parametrize(("words", "code", "sentence"), doors())
def test_the_door_says_what_is_wrong_in_one_sentence(room, monkeypatch, capsys, words, code, sentence):
    def started(*given: object) -> int:
        raise AssertionError("something started")

    monkeypatch.chdir(room)
    monkeypatch.setattr(sweep, "run_sweep", started)
    monkeypatch.setattr("pipeline.cell.run_cell", started)
    assert cli.main(words) == code
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_a_place_in_a_file_is_named_with_its_line(room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    (room / "t.yaml").write_text("name: t\ngrid:\n  seed: [0]\n  method:\n    - tgan\n    - rsa\n")
    assert cli.main(["sweep", "t.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: t.yaml:6: in the grid, unknown method 'rsa'")


@pytest.mark.parametrize("words", ["sweep s.yaml grid.method=[tgan,rsa]", "adapt a.yaml source=half"])
def test_the_same_in_a_process_of_its_own_and_nothing_is_left_behind(room, words):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words.split(" "), "--runs", "none"],
        cwd=room,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (2, 3)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (room / "none").exists()


def test_the_words_of_data_pack_are_those_of_the_packer():
    from pipeline.data import items, pack, pictures, verb

    assert (verb.FITS, verb.ENCODINGS, verb.LABELS) == (pictures.FITS, pack.ENCODINGS, pack.LABELS)
    assert verb.KINDS == items.KINDS
