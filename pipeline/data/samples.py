"""One undecoded sample, a broken one, and when broken ones are too many."""

import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.data.pictures import open_picture
from pipeline.errors import INPUT, GraftError

BROKEN_SHARE = 0.01  # more than one sample in a hundred broken stops a job


@dataclass(frozen=True)
class Sample:
    """One undecoded sample of a shard. `fields` and `label` are the bytes of KEY.json and KEY.cls."""

    key: str
    shard: str
    picture: bytes
    extension: str
    fields: bytes | None = None
    label: bytes | None = None

    @property
    def called(self) -> str:
        """The name an error sentence gives it."""
        return f"{self.shard}/{self.key}.{self.extension}"


@dataclass(frozen=True)
class Broken:
    """A sample that cannot be used, by name, and why."""

    called: str
    reason: str


@dataclass(frozen=True)
class Pair:
    """Two undecoded pictures of one key, such as a drawing and the same in colour; else as a Sample."""

    key: str
    shard: str
    a: Sample
    b: Sample
    fields: bytes | None = None
    label: bytes | None = None

    @property
    def called(self) -> str:
        """The name an error sentence gives it."""
        return f"{self.shard}/{self.key}"


def fields_of(sample: Sample | Pair) -> dict[str, Any]:
    """KEY.json as a dict, with "label" from KEY.cls where there is one. Raises GraftError (exit code 3)."""
    try:
        fields = json.loads(sample.fields) if sample.fields is not None else {}
    except (ValueError, RecursionError) as error:
        raise GraftError(f"{sample.shard}/{sample.key}.json: not JSON ({error})", INPUT) from error
    if not isinstance(fields, dict):
        raise GraftError(f"{sample.shard}/{sample.key}.json: must hold an object, like {{}}", INPUT)
    if sample.label is not None:
        try:
            fields["label"] = int(sample.label.decode("ascii"))
        except ValueError:
            raise GraftError(f"{sample.shard}/{sample.key}.cls: must hold a whole number", INPUT) from None
    return fields


def too_many_broken(broken: int, total: int) -> bool:
    """Whether more than one in a hundred of `total` samples is broken."""
    return broken > BROKEN_SHARE * total


def stop_if_broken(broken: list[Broken], total: int, where: str) -> None:
    """Raises GraftError (exit code 3) that counts and names the broken samples if they are more than 1 %."""
    if too_many_broken(len(broken), total):
        names = "; ".join(f"{one.called}: {one.reason}" for one in broken[:3])
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise GraftError(
            f"{where}: {len(broken)} of {total} samples are broken, more than 1 % ({names}{more})", INPUT
        )


def decoded(sample: Sample, size: int, fit: str, into: Tensor | None = None) -> tuple[Tensor, list[str]]:
    """(uint8 [3, size, size] RGB, notes on conversions), the pixels `into` a place. Raises PictureError (3)."""
    return open_picture(sample.picture, sample.called, size, fit, into)


def reason_of(error: GraftError, called: str) -> str:
    """The sentence without the name it begins with."""
    return str(error).removeprefix(f"{called}: ")
