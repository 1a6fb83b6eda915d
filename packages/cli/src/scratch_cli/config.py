"""From text to config objects: the layers defaults <- TOML file <- `--set`, and strict coercion.

A part owns a frozen dataclass; this module reads values for it, refuses whatever does not belong to it, and builds it.
Types are checked by pydantic in its strict JSON mode (a list becomes a tuple and an integer a float, but nothing is
parsed from text and a bool is no integer); the messages are our own, because they name the section, what was
expected and what was got in one line. `None`, which TOML lacks, is written as the word `none`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from scratch_cli.errors import PluginError, UsageError
from scratch_cli.registry import nearest

C = TypeVar("C")

MAX_TOML_BYTES = 1 << 20
"""A run's configuration is a few kilobytes; what is larger is some other file."""


# --- reading -------------------------------------------------------------------------------------------------------


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError naming the file, the line and the reason."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_TOML_BYTES + 1)
    except IsADirectoryError as error:
        raise UsageError(f"{path}: is a directory, must be a TOML file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_TOML_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_TOML_BYTES >> 20} MiB, which no configuration is")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: is not UTF-8 text, must be a TOML file") from error
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{path}: is nested too deeply to be a configuration") from error
    except ValueError as error:  # TOMLDecodeError, and integers with more digits than Python reads
        raise UsageError(f"{path}: is not valid TOML: {' '.join(str(error).split())}") from error
    for section, value in tables.items():
        if not isinstance(value, dict):
            raise UsageError(
                f"{path}: {section!r} stands outside of any section; write it below a line like [model] or [run]"
            )
        _refuse_unusable(value, f"{path}: {section}")
    return tables


def parse_set(text: str) -> tuple[str, str, Any]:
    """`kind.field=value` -> (kind, field, value). Raises UsageError if the text has another form.

    Field may be dotted, for a table inside of a section. The value is read like the right side of a TOML line; what is
    none (or is NaN, infinity or a date, or more than one line) is taken as text.
    """
    left, equals, right = text.partition("=")
    section, dot, name = left.strip().partition(".")
    if not equals or not dot or not section or not name or not all(name.split(".")):
        raise UsageError(f"--set {text!r}: must have the form kind.field=value, for example model.n_layer=2")
    return section, name, parse_value(right.strip())


def parse_value(text: str) -> Any:
    """What the right side of a TOML line says, else the text itself."""
    try:
        parsed = tomllib.loads("v = " + text)
        if set(parsed) != {"v"}:
            return text
        _refuse_unusable(parsed, "")
    except (ValueError, RecursionError, UsageError):
        return text
    return parsed["v"]


def _refuse_unusable(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_unusable(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unusable(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: got {value}, must be a finite number")
    elif isinstance(value, datetime.date | datetime.time):
        raise UsageError(f"{where}: got the date or time {value}, which no option takes; quote it if it is text")


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers over earlier ones; tables inside are merged too, lists are replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


# --- building ------------------------------------------------------------------------------------------------------


def build(config_cls: type[C], values: Mapping[str, Any], section: str) -> C:
    """An instance of the dataclass with these values and its own defaults for the rest.

    Raises UsageError, with `section.field` first, for an unknown field (with the nearest name), a value of the wrong
    type (with what was expected and got) and whatever the config's own `__post_init__` refuses; PluginError if the
    class is no dataclass or has fields that TOML cannot express.
    """
    hints = field_types(config_cls)
    for name in values:
        if name not in hints:
            known = ", ".join(hints) or "none"
            raise UsageError(f"{section}.{name}: there is no such option{nearest(name, hints)}; there are {known}")
    checker = _checker(config_cls)  # type: ignore[arg-type]  # mypy does not see that classes are hashable
    _refuse_unusable(values, section)
    ready = {name: _none_from_text(value, hints[name]) for name, value in values.items()}
    import pydantic

    try:
        checked = checker.validate_json(_json(ready, section))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raised = first.get("ctx", {}).get("error")
        if isinstance(raised, ValueError) and isinstance(getattr(raised, "exit_code", None), int):
            raise raised from error  # bad data, say, and not a value that is wrong by itself
        raise UsageError(_explain(first, config_cls, ready, section)) from error
    # pydantic checks with a subclass of its own; what is handed on is the class that the part knows.
    fields = [f.name for f in dataclasses.fields(config_cls) if f.init]  # type: ignore[arg-type]
    try:
        return config_cls(**{name: getattr(checked, name) for name in fields})
    except ValueError as error:
        raise UsageError(f"{section}.{_one_line(error)}") from error


def field_types(config_cls: type[Any]) -> dict[str, Any]:
    """Name -> resolved type of every field that can be set, in order. Raises PluginError if it is no dataclass."""
    if not dataclasses.is_dataclass(config_cls):
        raise PluginError(f"{config_cls.__module__}.{config_cls.__qualname__}: a part's config must be a dataclass")
    try:
        hints = typing.get_type_hints(config_cls)
    except Exception as error:
        raise PluginError(f"{config_cls.__module__}.{config_cls.__qualname__}: {_one_line(error)}") from error
    return {f.name: hints[f.name] for f in dataclasses.fields(config_cls) if f.init}


def to_values(config: Any) -> dict[str, Any]:
    """A config as TOML can hold it; feeding it to `build` gives an equal config."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}


def _plain(value: Any) -> Any:
    if value is None:
        return "none"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_values(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


@functools.cache
def _checker(config_cls: type[Any]) -> Any:
    import pydantic

    frozen = config_cls.__dataclass_params__.frozen
    settings = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    try:
        return pydantic.TypeAdapter(pydantic.dataclasses.dataclass(config_cls, config=settings, frozen=frozen))
    except Exception as error:
        name = f"{config_cls.__module__}.{config_cls.__qualname__}"
        raise PluginError(f"{name}: has a field that no text can express: {_one_line(error)}") from error


def _json(values: Mapping[str, Any], section: str) -> str:
    pieces = []
    for name, value in values.items():
        try:
            pieces.append(f"{json.dumps(name)}: {json.dumps(value, default=_json_default, allow_nan=False)}")
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{section}.{name}: got {error}, which no option takes") from error
    return "{" + ", ".join(pieces) + "}"


def _json_default(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"an object of type {type(value).__name__}")


def _none_from_text(value: Any, hint: Any) -> Any:
    """The word `none` means None wherever a field may be None, also inside of lists and tables."""
    arms = _arms(hint)
    if value == "none" and type(None) in arms:
        return None
    for arm in arms:
        origin, args = typing.get_origin(arm), typing.get_args(arm)
        if dataclasses.is_dataclass(arm) and isinstance(arm, type) and isinstance(value, Mapping):
            inner = field_types(arm)
            return {k: _none_from_text(v, inner[k]) if k in inner else v for k, v in value.items()}
        if isinstance(origin, type) and args and isinstance(value, Mapping) and issubclass(origin, Mapping):
            return {k: _none_from_text(v, args[-1]) for k, v in value.items()}
        if isinstance(origin, type) and args and isinstance(value, list | tuple) and issubclass(origin, Iterable):
            if issubclass(origin, Mapping):
                continue
            each = args if len(args) == len(value) and args[-1] is not ... else [args[0]] * len(value)
            return [_none_from_text(v, t) for v, t in zip(value, each, strict=True)]
    return value


def _explain(first: Any, config_cls: type[Any], values: Mapping[str, Any], section: str) -> str:
    """One line for the first thing that is wrong."""
    if not first["loc"]:  # raised by __post_init__
        raised = first.get("ctx", {}).get("error")
        return f"{section}.{_one_line(raised)}" if raised is not None else f"{section}: {first['msg']}"
    where, cls, name = section, config_cls, ""
    hint: Any = config_cls
    value: Any = values
    for step in first["loc"]:
        hints = field_types(cls)
        name = str(step)
        where = f"{where}.{name}"
        if name not in hints:
            return f"{where}: there is no such option{nearest(name, hints)}; there are {', '.join(hints)}"
        hint, value = hints[name], value.get(name) if isinstance(value, Mapping) else value
        if not (dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping)):
            break
        cls = hint
        if step == first["loc"][-1]:  # the inner config's own __post_init__
            raised = first.get("ctx", {}).get("error")
            return f"{where}.{_one_line(raised)}" if raised is not None else f"{where}: {first['msg']}"
    return f"{where}: got {_shown(value)}, must be {type_text(hint)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        kind = "the text "
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int):
        kind = "the whole number "
    elif isinstance(value, float):
        kind = "the number "
    elif isinstance(value, Mapping):
        kind = "the table "
    else:
        kind = "the list "
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "with more than 40 digits"
    return kind + (text if len(text) <= 80 else text[:79] + "…")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- types in words ------------------------------------------------------------------------------------------------


def _arms(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Annotated:
        return _arms(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(arm for part in typing.get_args(hint) for arm in _arms(part))
    return (hint,)


_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true/false values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    type(None): ("none", "nones"),
    Any: ("any value", "any values"),
}


def type_text(hint: Any, *, plural: bool = False) -> str:
    """A type in words: "a whole number or none", "a list of 2 numbers", "'linear' or 'cosine'"."""
    arms = _arms(hint)
    if len(arms) > 1:
        return " or ".join(dict.fromkeys(type_text(arm, plural=plural) for arm in arms))
    (arm,) = arms
    if arm in _WORDS:
        return _WORDS[arm][plural]
    origin, args = typing.get_origin(arm), typing.get_args(arm)
    if origin is Literal:
        return " or ".join(repr(value) for value in args)
    if isinstance(arm, type) and issubclass(arm, Enum):
        return " or ".join(repr(member.value) for member in arm)
    base = origin or arm
    if isinstance(base, type) and issubclass(base, Mapping):
        return f"{'tables' if plural else 'a table'} of {type_text(args[-1], plural=True) if args else 'values'}"
    if isinstance(base, type) and issubclass(base, Iterable) and not dataclasses.is_dataclass(base):
        many = "lists" if plural else "a list"
        if base is tuple and args and args[-1] is not ...:
            if len(set(args)) == 1:
                return f"{many} of {len(args)} {type_text(args[0], plural=len(args) > 1)}"
            return f"{many} of {len(args)}: {', '.join(type_text(a) for a in args)}"
        return f"{many} of {type_text(args[0], plural=True) if args else 'values'}"
    return ("tables" if plural else "a table") if dataclasses.is_dataclass(arm) else str(arm)
