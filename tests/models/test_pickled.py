"""Pickled files of weights: tensors come out, nothing is executed."""

import os
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from models.files import WeightsError
from models.files.pickled import read_pickled, state_dict_in


class Fires:
    """A pickle of it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".CKPT"])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back_under_their_names(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"weights{suffix}"
    given = {
        "generator": OrderedDict(a=torch.randn(3, 4), half=torch.randn(2).half()),
        "style_encoder": {"deep": {"scalar": torch.tensor(0.5)}, "b": nn.Parameter(torch.randn(2))},
    }
    torch.save(given, path, _use_new_zipfile_serialization=zipped)
    found = read_pickled(path)
    assert found.keys() == given.keys()
    assert torch.equal(found["generator"]["a"], given["generator"]["a"])
    assert found["generator"]["half"].dtype == torch.float16
    assert torch.equal(found["style_encoder"]["deep"]["scalar"], torch.tensor(0.5))
    assert not found["style_encoder"]["b"].requires_grad
    assert type(found["style_encoder"]["b"]) is torch.Tensor


def test_what_is_no_tensor_is_passed_over_and_keys_become_names(tmp_path: Path) -> None:
    path = tmp_path / "optims.ckpt"
    module = nn.Linear(2, 1)
    adam = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    adam.step()
    torch.save({"generator": adam.state_dict(), "step": 7, "note": "x", "empty": {}, "list": [1]}, path)
    found = read_pickled(path)
    assert found.keys() == {"generator"}
    assert found["generator"].keys() == {"state"}
    assert found["generator"]["state"].keys() == {"0", "1"}
    assert torch.equal(found["generator"]["state"]["0"]["exp_avg"], torch.full((1, 2), 0.1))


def test_the_state_dict_of_a_larger_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "wing.ckpt"
    weights = {"l0.weight": torch.randn(2, 2)}
    torch.save({"state_dict": weights, "epoch": 3, "best": torch.tensor(0.1)}, path)
    assert state_dict_in(read_pickled(path)).keys() == {"l0.weight"}
    torch.save(weights, path)
    assert torch.equal(state_dict_in(read_pickled(path))["l0.weight"], weights["l0.weight"])


@pytest.mark.parametrize("kind", ["bare pickle", "saved", "saved the old way", "inside"])
def test_a_file_that_would_run_something_is_refused_by_name_and_does_not_run(
    tmp_path: Path, kind: str
) -> None:
    path, mark = tmp_path / "weights.pt", tmp_path / "fired"
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Fires(mark), protocol=2))
    elif kind == "inside":
        torch.save({"generator": {"a": torch.zeros(2), "b": Fires(mark)}}, path)
    else:
        torch.save(Fires(mark), path, _use_new_zipfile_serialization=kind == "saved")
    with pytest.raises(WeightsError) as caught:
        read_pickled(path)
    assert not mark.exists()
    assert str(caught.value) == (
        f"{path}: refused: it asks to run {os.name}.mkdir, which is not needed for weights; "
        "save the tensors alone, or pass them as .safetensors"
    )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_kind_of_pickle_runs_and_no_advice_to_run_it_is_given(tmp_path: Path, protocol: int) -> None:
    path, mark = tmp_path / "weights.pt", tmp_path / "fired"
    path.write_bytes(pickle.dumps(Fires(mark), protocol=protocol))
    with pytest.raises(WeightsError) as caught:
        read_pickled(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_the_reader_cannot_be_opened_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mark = tmp_path / "weights.pt", tmp_path / "fired"
    torch.save(Fires(mark), path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(WeightsError, match=r"asks to run \w+\.mkdir"):
        read_pickled(path)
    assert not mark.exists()


def test_whole_objects_are_refused_with_their_class_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"args": Namespace(size=64), "w": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"asks to run argparse\.Namespace, which"):
        read_pickled(path)
    torch.save(nn.Linear(1, 1), path)
    with pytest.raises(WeightsError, match=r"asks to run torch\.nn\.modules\.linear\.Linear, which"):
        read_pickled(path)


@pytest.mark.parametrize("kept", [0, 1, 20, 200, -1, -100])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, kept: int, zipped: bool) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save({"a": torch.randn(64)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="not a whole file of weights") as caught:
        read_pickled(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "weights.pt"
    with pytest.raises(WeightsError, match="there is no such file of weights"):
        read_pickled(missing)
    with pytest.raises(WeightsError, match=r"expected a file of weights that ends in \.ckpt, \.pt, \.pth"):
        read_pickled(Path(__file__))
    text = tmp_path / "text.pt"
    text.write_text("not found, said the server")
    with pytest.raises(WeightsError, match="not a whole file of weights"):
        read_pickled(text)
    archive = tmp_path / "archive.pt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme", "hello")
    with pytest.raises(WeightsError, match="not a whole file of weights"):
        read_pickled(archive)


def test_a_file_without_named_tensors_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(torch.zeros(2), path)
    with pytest.raises(WeightsError, match="holds a Tensor; expected named tensors"):
        read_pickled(path)
    torch.save({"step": 3, "names": {"a": "b"}}, path)
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_pickled(path)
    endless: dict[str, object] = {"w": torch.zeros(1)}
    endless["again"] = endless
    torch.save(endless, path)
    with pytest.raises(WeightsError, match="holds dicts more than 8 deep"):
        read_pickled(path)
