"""Options given as text, `field=value`, where the value is the right side of a TOML line, or text that is none."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

C = TypeVar("C")


def parse_setting(text: str) -> tuple[str, Any]:
    """`field=value` or `tokenizer.field=value` -> (field, value). Raises ValueError for any other form."""
    name, equals, value = text.partition("=")
    name = name.strip().removeprefix("tokenizer.")
    if not equals or not name.isidentifier():
        raise ValueError(f"{text!r}: must have the form field=value, for example vocab_size=2000")
    try:
        table = tomllib.loads("v = " + value.strip())
    except (ValueError, RecursionError):
        return name, value.strip()
    return name, table["v"] if set(table) == {"v"} else value.strip()


def configured(config: type[C], values: Mapping[str, Any]) -> C:
    """An instance with these values. Raises ValueError that starts with the name of the option that is wrong."""
    hints = typing.get_type_hints(config)
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"{name}: there is no such option; there are {', '.join(known)}")
    return config(**{name: _fitted(name, value, hints[name]) for name, value in values.items()})


def _fitted(name: str, value: Any, hint: Any) -> Any:
    arms = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    for arm in arms:
        origin, inner = typing.get_origin(arm), typing.get_args(arm)
        if arm is type(None):
            if value in (None, "none"):
                return None
        elif origin is Literal:
            if value in inner and type(value) in {type(choice) for choice in inner}:
                return value
        elif origin is tuple:
            if isinstance(value, list | tuple):
                return tuple(_fitted(f"{name}[{i}]", item, inner[0]) for i, item in enumerate(value))
        elif arm is float:
            if type(value) in (int, float):
                return float(value)
        elif type(value) is arm:
            return value
    raise ValueError(f"{name}: got {value!r}, must be {' or '.join(map(_in_words, arms))}")


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return 'a list such as ["<a>", "<b>"]'
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return words.get(hint, str(hint))
