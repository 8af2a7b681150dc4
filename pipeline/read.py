"""A YAML file and the overrides of a command -> a validated model, or one sentence: what is wrong, and where.

`base: other.yaml` names one file to start from, beside the file that says so; sections are merged key by key,
lists and scalars replaced. Overrides `key.path=value` come last, and each sets its key whole.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import GraftError
from pipeline.explain import choices, dotted_keys, expected, explain, field_at, section_of
from pipeline.nearest import did_you_mean, nearest
from pipeline.yaml_lines import COMMAND_LINE, Located, located

__all__ = ["Problem", "explain", "read", "read_words"]

M = TypeVar("M", bound=BaseModel)


class Problem(NamedTuple):
    """What a caller found wrong with a key that the schema leaves free; `sentence` names the key itself."""

    key: str
    sentence: str


def read(
    path: Path | str,
    overrides: Sequence[str],
    model: type[M],
    check: Callable[[M], Iterable[Problem]] | None = None,
) -> M:
    """The config at `path` with `overrides` (`steps=200`) applied, as a `model`. Raises GraftError.

    check: looks into keys that the model leaves free; its first Problem is raised with file and line.
    """
    path = Path(path)
    return _resolved(_with_base(path), overrides, model, path, check)


def read_words(values: dict[str, Any], overrides: Sequence[str], model: type[M]) -> M:
    """The same where a verb has no file: its own options as `values`, and overrides."""
    return _resolved(Located(values), overrides, model, Path(COMMAND_LINE), None)


def _resolved(
    config: Located,
    overrides: Sequence[str],
    model: type[M],
    path: Path,
    check: Callable[[M], Iterable[Problem]] | None,
) -> M:
    for override in overrides:
        _put(config, override)
    try:
        result = model.model_validate(config.values)
    except ValidationError as error:
        raise GraftError(_sentence(error.errors(), config, path, model)) from error
    problems = [*_truth_for_numbers(result, config), *(check(result) if check else ())]
    if problems:
        first = problems[0]
        raise GraftError(f"{_place(config, tuple(first.key.split('.')), path)}: {first.sentence}")
    return result


def _with_base(path: Path) -> Located:
    config = _file(path)
    if "base" not in config.values:
        return config
    named, at = config.values.pop("base"), config.places.pop("base")
    if not isinstance(named, str):
        raise GraftError(f"{at}: 'base' is the name of one file to start from")
    under = _file(path.parent / named, at)
    if "base" in under.values:
        raise GraftError(f"{at}: 'base' names {named}, which has a base itself; one level is all there is")
    under.values = _merged(under.values, config.values)
    under.places |= config.places
    return under


def _merged(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: _merged(under.get(key), value) for key, value in over.items()}


def _file(path: Path, named_at: str = "") -> Located:
    said = f"{named_at}: " if named_at else ""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GraftError(f"{said}{path}: no such file{_beside(path)}") from error
    except UnicodeDecodeError as error:
        raise GraftError(f"{said}{path}: not UTF-8 text, so not a config") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise GraftError(f"{said}{path}: cannot be read: {reason}") from error
    config = located(text, str(path))
    if config.values is None:
        config.values = {}
    if not isinstance(config.values, dict):
        raise GraftError(
            f"{path}: a config is made of lines 'key: value'; this file holds {_shown(config.values)}"
        )
    return config


def _beside(path: Path) -> str:
    try:
        near = sorted(each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return f"; the folder {path.parent} is not there either"
    return did_you_mean(path.name, near) or f"; {path.parent} holds no .yaml file"


def _put(config: Located, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or "" in key.split("."):
        raise GraftError(f"{COMMAND_LINE}: '{override}' is not of the form key.path=value")
    if key == "base":
        raise GraftError(f"{COMMAND_LINE}: 'base' is set in the file, not here")
    given = located(text, COMMAND_LINE)
    here: dict[str, Any] = config.values
    parts = key.split(".")
    while (size := _step(here, parts)) < len(parts):
        name = ".".join(parts[:size])
        if here.get(name) is None:
            here[name] = {}
        if not isinstance(here[name], dict):
            raise GraftError(f"{COMMAND_LINE}: '{key}' looks inside {_shown(here[name])}; set '{name}' whole")
        here, parts = here[name], parts[size:]
    here[".".join(parts)] = given.values
    stale = [each for each in config.places if each.startswith(f"{key}.")]
    for each in stale:
        del config.places[each]
    config.places[key] = COMMAND_LINE
    config.places |= {f"{key}.{each}": COMMAND_LINE for each in given.places}


def _step(here: dict[str, Any], parts: list[str]) -> int:
    """How many parts name the next key: names under `search:` have dots themselves."""
    for size in range(len(parts), 0, -1):
        if ".".join(parts[:size]) in here:
            return size
    return 1


def _sentence(errors: Sequence[ErrorDetails], config: Located, path: Path, model: type[BaseModel]) -> str:
    # A mistyped key is also a missing one: the first says more.
    error = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(map(str, error["loc"]))
    place = _place(config, error["loc"], path)
    more = f" ({len(errors) - 1} more to mend)" if len(errors) > 1 else ""
    found = field_at(model, error["loc"])
    value = error["input"]
    if error["type"] == "extra_forbidden":
        return f"{place}: {_unknown(error['loc'], config, model)}{more}"
    if error["type"] == "missing":
        meaning = f", {found.description}" if found and found.description else ""
        return f"{place}: '{key}' is missing: {expected(found) if found else 'a value'}{meaning}{more}"
    if error["type"] in ("value_error", "assertion_error"):
        said = str(error.get("ctx", {}).get("error", error["msg"]))
        return f"{place}: '{key}': {said}{more}" if key else f"{place}: {said}{more}"
    if error["type"] == "literal_error" and isinstance(value, str) and found:
        near = nearest(value, choices(found.annotation))
        hint = f"; did you mean '{near}'?" if near else ""
        return f"{place}: '{key}' is {_shown(value)}, expected {expected(found)}{hint}{more}"
    wanted = expected(found) if found else error["msg"].lower()
    return f"{place}: '{key or 'the config'}' is {_shown(value)}, expected {wanted}{more}"


def _unknown(loc: tuple[int | str, ...], config: Located, model: type[BaseModel]) -> str:
    key = ".".join(map(str, loc))
    above = field_at(model, loc[:-1])
    section = section_of(above.annotation) if above else model
    prefix = "".join(f"{part}." for part in loc[:-1])
    beside = [f"{prefix}{name}" for name in section.model_fields] if section else []
    written = [each for each in config.places if each.startswith(f"{key}.")]
    typed = written[0] if len(written) == 1 else key
    near = nearest(key, beside)
    if near is not None:
        return f"unknown key '{typed}'; did you mean '{near}{typed.removeprefix(key)}'?"
    elsewhere = nearest(key, dotted_keys(model))
    return f"unknown key '{typed}'{did_you_mean(key, [elsewhere] if elsewhere else beside)}"


def _place(config: Located, loc: tuple[int | str, ...], path: Path) -> str:
    """The place of the deepest part of `loc` that was written; pydantic's names of union members were not."""
    key, place = "", str(path)
    for part in loc:
        longer = f"{key}.{part}" if key else str(part)
        if longer in config.places:
            key, place = longer, config.places[longer]
        elif below := [each for each in config.places if each.startswith(f"{longer}.")]:
            key, place = longer, config.places[below[0]]  # an override of something below made this section
    return place


def _truth_for_numbers(result: BaseModel, config: Located) -> list[Problem]:
    """pydantic takes true for 1; a file that says so was not meant that way."""
    problems = []
    for key in config.places:
        given, kept = _dig(config.values, key), _dig(result, key)
        if isinstance(given, bool) and isinstance(kept, int | float) and not isinstance(kept, bool):
            problems.append(Problem(key, f"'{key}' is {_shown(given)}, expected a number"))
    return problems


def _dig(values: Any, key: str) -> Any:
    """The value at a dotted key of nested models and mappings; None where there is none."""
    if isinstance(values, BaseModel):
        values = {name: getattr(values, name) for name in type(values).model_fields}
    if not key or not isinstance(values, dict):
        return values if not key else None
    for name in values:
        if key == str(name) or key.startswith(f"{name}."):
            found = _dig(values[name], key[len(str(name)) + 1 :])
            if found is not None:
                return found
    return None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
