"""What a key of a config means, said from its schema: meaning, unit, range, default, source."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import GraftError
from pipeline.nearest import did_you_mean

Inner = Mapping[str, Mapping[str, FieldInfo]]

_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
    Any: "any value",
}
_LISTS = (list, tuple, set, frozenset)
_BOUNDS = (
    (Ge, "ge", "at least"),
    (Gt, "gt", "more than"),
    (Le, "le", "at most"),
    (Lt, "lt", "less than"),
    (MultipleOf, "multiple_of", "a multiple of"),
)


def explain(model: type[BaseModel], key: str, inner: Inner | None = None) -> str:
    """The lines that `--explain KEY` prints; a section lists its keys.

    inner: the names inside a free mapping, by its dotted key: {"weights": {"distance": Field(...)}}.
    Raises GraftError for an unknown key.
    """
    section, prefix = model, ""
    parts = key.split(".")
    for depth, part in enumerate(parts):
        found = section.model_fields.get(part)
        if found is None:
            raise GraftError(f"unknown key '{key}'{did_you_mean(key, dotted_keys(model, inner))}")
        prefix = f"{prefix}.{part}" if prefix else part
        rest = ".".join(parts[depth + 1 :])
        free = (inner or {}).get(prefix, {})
        if rest in free:
            return _card(key, free[rest])
        if not rest:
            return _card(key, found, free)
        section = section_of(found.annotation) or BaseModel
    raise AssertionError("a key has at least one part")


def dotted_keys(model: type[BaseModel], inner: Inner | None = None, prefix: str = "") -> list[str]:
    """Every key that a file for `model` may hold, dotted, sections before what they hold."""
    keys: list[str] = []
    for name, found in model.model_fields.items():
        key = prefix + name
        keys += [key, *(f"{key}.{each}" for each in (inner or {}).get(key, {}))]
        below = section_of(found.annotation)
        if below is not None:
            keys += dotted_keys(below, inner, f"{key}.")
    return keys


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind an annotation such as `Data` or `Data | None`; None where there is none."""
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def field_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> FieldInfo | None:
    """What the schema says of the value at a pydantic error's `loc`; None where it says nothing."""
    annotation: Any = model
    found: FieldInfo | None = None
    for part in loc:
        found = _inside(annotation, str(part))
        if found is None:
            return None
        annotation = found.annotation
    return found


def _inside(annotation: Any, part: str) -> FieldInfo | None:
    for each in _alternatives(annotation):
        origin, inside = get_origin(each), get_args(each)
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each.model_fields.get(part)
        if origin in _LISTS and inside:
            return FieldInfo.from_annotation(inside[0])
        if origin is dict and len(inside) == 2:
            return FieldInfo.from_annotation(inside[1])
    return None


def choices(annotation: Any) -> list[str]:
    """The values that a Literal allows, as text; empty for other types."""
    literals = [each for each in _alternatives(annotation) if get_origin(each) is Literal]
    return [str(value) for each in literals for value in get_args(each)]


def expected(found: FieldInfo) -> str:
    """`a whole number, at least 1`."""
    return ", ".join(part for part in (_kind(found.annotation), bounds(found)) if part)


def bounds(found: FieldInfo) -> str:
    """`at least 0, at most 1`; empty where any value of the type will do."""
    said = []
    for bound in found.metadata:
        said += [
            f"{words} {getattr(bound, name)}" for kind, name, words in _BOUNDS if isinstance(bound, kind)
        ]
        if isinstance(bound, MinLen):
            said.append(f"{bound.min_length} or more of them")
        if isinstance(bound, MaxLen):
            said.append(f"{bound.max_length} or fewer of them")
    return ", ".join(said)


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [each for part in get_args(annotation) for each in _alternatives(part)]
    return [annotation]


def _kind(annotation: Any) -> str:
    return " or ".join(dict.fromkeys(_one_kind(each) for each in _alternatives(annotation)))


def _one_kind(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in _LISTS or annotation in _LISTS:
        items = [each for each in inside if each is not Ellipsis]
        return f"a list, each {_kind(items[0])}" if items else "a list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a section with {', '.join(annotation.model_fields)}"
    if origin is dict and len(inside) == 2:
        return f"names, each with {_kind(inside[1])}"
    return getattr(annotation, "__name__", str(annotation))


def _card(key: str, found: FieldInfo, free: Mapping[str, FieldInfo] | None = None) -> str:
    extra = found.json_schema_extra if isinstance(found.json_schema_extra, dict) else {}
    below = section_of(found.annotation)
    of_section = (below.__doc__ or "").split("\n")[0] if below else ""
    rows = [
        ("meaning", found.description or of_section or "(not described)"),
        ("unit", str(extra.get("unit", "")) or "none"),
        ("range", expected(found)),
        ("default", _default(found)),
        ("source", str(extra.get("source", "")) or "a choice of Graft's own"),
    ]
    named = dict(below.model_fields) if below else dict(free or {})
    lines = [key, *(f"  {name:<8} {text}" for name, text in rows)]
    if named:
        width = max(map(len, named))
        lines += [
            "  keys",
            *(f"    {name:<{width}}  {each.description or ''}" for name, each in named.items()),
        ]
    return "\n".join(line.rstrip() for line in lines)


def _default(found: FieldInfo) -> str:
    if found.is_required():
        return "none: it must be given"
    value = found.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "see its keys"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
