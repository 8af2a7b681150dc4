import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from models.files import WeightsError, load_into, read_tensors, sha256_of, tensors, write_tensors
from models.files.tensors import CODES


def test_tensors_come_back_bit_for_bit_in_their_own_types(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    given = {
        "a": torch.randn(3, 4),
        "scalar": torch.tensor(0.5),
        "transposed": torch.randn(4, 3).t(),
        "channels last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "half": torch.randn(5).half(),
        "double": torch.randn(5).double(),
        "counts": torch.arange(4),
        "empty": torch.zeros(0, 3),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    write_tensors(path, given, {"made": "here"})
    found = read_tensors(path)
    assert found.keys() == given.keys()
    for key, value in given.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key].nan_to_num(7.0), value.nan_to_num(7.0)), key
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("metadata", [None, {"made": "here, in Köln"}])
@pytest.mark.parametrize("piece", [1, 5, 8, 16 << 20])
def test_the_file_has_the_bytes_of_the_formats_own_writer_and_the_digest_that_is_returned(
    tmp_path: Path, metadata: dict[str, str] | None, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "PIECE", piece)
    path = tmp_path / "weights.safetensors"
    given = {f"{dtype}/größe/{n}": torch.ones(3, n).to(dtype) for dtype in CODES for n in (0, 1, 2)}
    given |= {"b scalar": torch.tensor(0.5), "a scalar": torch.tensor(7), "flag": torch.tensor(True)}
    given |= {"transposed": torch.randn(4, 3).t()}
    digest = write_tensors(path, given, metadata)
    expected = save({key: value.contiguous() for key, value in given.items()}, metadata)
    assert path.read_bytes() == expected
    assert digest == hashlib.sha256(expected).hexdigest() == sha256_of(path)


def test_a_type_without_a_code_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"z: torch\.complex64 cannot be written"):
        write_tensors(tmp_path / "weights.safetensors", {"z": torch.zeros(2, dtype=torch.complex64)})
    assert list(tmp_path.iterdir()) == []


def test_writing_again_replaces_the_file_and_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.zeros(2)})
    first = sha256_of(path)
    write_tensors(path, {"a": torch.ones(2)})
    assert sha256_of(path) != first
    assert torch.equal(read_tensors(path)["a"], torch.ones(2))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.zeros(2)})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {"a": torch.ones(2)})
    assert torch.equal(read_tensors(path)["a"], torch.zeros(2))


def test_a_missing_file_is_one_sentence_with_exit_code_three(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert str(caught.value) == f"{path}: there is no such file of weights"
    assert caught.value.exit_code == 3


class Fires:
    """A pickle of it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"])
def test_files_that_can_run_code_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"weights{suffix}", tmp_path / "fired"
    path.write_bytes(pickle.dumps(Fires(mark)))
    with pytest.raises(WeightsError, match=f"\\{suffix} files can run code"):
        read_tensors(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".PT", ".Pkl"])
def test_a_suffix_in_capitals_is_the_same_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match="can run code"):
        read_tensors(path)


def test_a_pickle_under_another_name_is_no_safetensors_file(tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.safetensors", tmp_path / "fired"
    path.write_bytes(pickle.dumps(Fires(mark)))
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_tensors(path)
    assert not mark.exists()


@pytest.mark.parametrize("kept", [0, 4, 20, 200, -1])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.randn(64), "b": torch.randn(3)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="not a whole safetensors file") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_loaded_under_their_prefix_alone() -> None:
    module = nn.Linear(2, 3)
    tensors = {"G.weight": torch.ones(3, 2).double(), "G.bias": torch.ones(3), "D.weight": torch.zeros(1)}
    load_into(module, tensors, "G.", Path("m.safetensors"), "width")
    assert torch.equal(module.weight, torch.ones(3, 2))
    assert module.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {"G.weight": torch.ones(3, 4), "G.bias": torch.ones(3)},
            "m.safetensors: tensor G.weight is [3, 4], but width: 2 makes it [3, 2]",
        ),
        ({"G.weight": torch.ones(3, 2)}, "m.safetensors: tensor G.bias is missing; width: 2 asks for it"),
        (
            {"G.weight": torch.ones(3, 2), "G.bias": torch.ones(3), "G.more": torch.ones(1)},
            "m.safetensors: tensor G.more has no place in the network; width: 2 does not fit",
        ),
    ],
)
def test_weights_that_do_not_fit_name_the_tensor_the_shapes_and_the_setting(
    tensors: dict[str, torch.Tensor], sentence: str
) -> None:
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    with pytest.raises(WeightsError) as caught:
        load_into(module, tensors, "G.", Path("m.safetensors"), "width: 2")
    assert str(caught.value) == sentence
    assert torch.equal(module.weight, before)
