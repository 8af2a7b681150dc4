"""YAML text -> plain values, with the place of every key.

Read from the parser's events, so nothing is ever constructed from a tag. Plain scalars follow the core schema
of YAML 1.2 (`1e-3` is a number, `no` and `12:30` are text), where PyYAML's own constructor follows 1.1.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.errors import GraftError

COMMAND_LINE = "on the command line"
DEEPEST = 20  # no config nests deeper by half; a bound keeps hostile text from exhausting the stack
_WHOLE = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass
class Located:
    """Values as dicts, lists and scalars; `places` says for each dotted key where it was written."""

    values: Any
    places: dict[str, str] = field(default_factory=dict)


def located(text: str, source: str) -> Located:
    """Read one YAML document; `source` is a file's name, or COMMAND_LINE. Raises GraftError."""
    return _Reading(source, _events(text, source)).document()


def _events(text: str, source: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _at(source, mark.line) if mark else source
        raise GraftError(f"{at}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # e.g. "\UFFFFFFFF" is chr()'s ValueError
        raise GraftError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def _at(source: str, line: int) -> str:
    return source if source == COMMAND_LINE else f"{source}:{line + 1}"


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@dataclass
class _Reading:
    source: str
    events: Iterator[Any]
    places: dict[str, str] = field(default_factory=dict)

    def document(self) -> Located:
        next(self.events)  # the stream's start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Located(None)
        values = self.value(next(self.events), "", 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self.error(after, "a second document begins here; a config is one document")
        return Located(values, self.places)

    def error(self, event: Any, sentence: str) -> GraftError:
        return GraftError(f"{_at(self.source, event.start_mark.line)}: {sentence}")

    def refuse_references(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self.error(event, "anchors (&, *) are not read here; write the value out, or use base:")
        if event.tag is not None:
            raise self.error(event, f"the tag {event.tag!r} is not read here; a config holds plain values")

    def value(self, event: Any, key: str, depth: int) -> Any:
        self.refuse_references(event)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if depth == DEEPEST:
            raise self.error(event, f"nested more than {DEEPEST} deep")
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(key, depth)
        return self.mapping(key, depth)

    def sequence(self, key: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            name = _dotted(key, str(len(items)))
            self.places[name] = _at(self.source, event.start_mark.line)
            items.append(self.value(event, name, depth + 1))
        return items

    def mapping(self, key: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.refuse_references(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.error(event, "a key is a name, not a list or a mapping")
            if event.value in values:
                raise self.error(event, f"the key '{_dotted(key, event.value)}' stands here twice")
            name = _dotted(key, event.value)
            self.places[name] = _at(self.source, event.start_mark.line)
            values[event.value] = self.value(next(self.events), name, depth + 1)
        return values

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style is not None:
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        if _NOT_FINITE.fullmatch(text):
            raise self.error(event, f"{text} is not a finite number")
        try:
            if _WHOLE.fullmatch(text):
                return int(text)
            number = float(text) if _NUMBER.fullmatch(text) else None
        except ValueError as error:  # int() refuses thousands of digits
            raise self.error(event, "a number with too many digits") from error
        if number is not None and not math.isfinite(number):
            raise self.error(event, f"{text} is not a finite number")
        return text if number is None else number
