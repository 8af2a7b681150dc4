"""metrics.jsonl: one JSON object a line, the truth that every mirror is completed from.

A line is `{"step": int, "images": int, "seconds": float, "images_per_second": float,
"terms": {name: float}}`, or `{"step": int, "scores": {name: float}}`. JSON has no NaN, so numbers that are
not finite stand as "nan", "inf", "-inf" and are floats again when read.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TAIL_BYTES = 16384
NOT_FINITE = ("nan", "inf", "-inf")


class Lines:
    """Appends to one metrics file, which has one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = False

    def append(self, line: Mapping[str, object]) -> None:
        """Write one line in one piece, past every buffer of this process.

        OSError (disk full) leaves the file as it was before the call.
        """
        data = (json.dumps(_writable(line), allow_nan=False) + "\n").encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            if not self._whole:
                file.truncate(_whole_length(self.path))  # what a killed writer left half written
                self._whole = True
            before = os.fstat(file.fileno()).st_size
            try:
                rest = memoryview(data)
                while rest:  # a raw write may be short
                    rest = rest[file.write(rest) :]
            except OSError as error:
                file.truncate(before)
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def truncate_after(self, step: int) -> int:
        """Drop lines of a later step than `step`, and unreadable ones. Returns how many lines remain.

        A run that continues from the checkpoint of `step` writes the later lines again.
        """
        if not self.path.exists():
            return 0
        kept = [line for line in read(self.path) if int(line.get("step", 0)) <= step]
        data = "".join(json.dumps(_writable(line), allow_nan=False) + "\n" for line in kept).encode()
        if data != self.path.read_bytes():
            aside = self.path.with_name(self.path.name + ".aside")
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        self._whole = True
        return len(kept)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines in order, none where the file is missing; broken lines are passed over."""
    if not path.exists():
        return []
    return list(_objects(path.read_bytes()))


def last(path: Path) -> dict[str, Any] | None:
    """The last whole line, from the end of the file alone; None where there is none yet."""
    lines = list(tail(path))
    return lines[-1] if lines else None


def tail(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines in the last 16 KiB, oldest first: quick however long the file has grown."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read()
    except OSError:
        return iter(())
    if size > TAIL_BYTES:
        data = data[data.find(b"\n") + 1 :]
    return _objects(data)


def flat(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line by name: terms as they are called, scores as `score/NAME`; without `step`."""
    values: dict[str, float] = {}
    for name, value in line.items():
        if name == "step":
            continue
        if isinstance(value, Mapping):
            front = {"terms": "", "scores": "score/"}.get(name, f"{name}/")
            values |= {front + key: float(x) for key, x in value.items() if _is_number(x)}
        elif _is_number(value):
            values[name] = float(value)
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    for raw in data.split(b"\n")[:-1]:  # what follows the last line end is not whole
        try:
            value = json.loads(raw)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield _readable(value)


def _whole_length(path: Path) -> int:
    data = path.read_bytes()
    return data.rfind(b"\n") + 1


def _writable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _writable(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_readable(x) for x in value]
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value
