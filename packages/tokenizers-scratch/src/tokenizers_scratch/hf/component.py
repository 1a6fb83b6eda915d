"""The objects of a `tokenizer.json`, read with their place in the file, so that every error can say where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tokenizers_scratch.custom_patterns import compile_pattern
from tokenizers_scratch.errors import TokenizerFileError, UnsupportedComponentError
from tokenizers_scratch.formats.oniguruma import to_regex

MAX_COMPONENTS = 64
"""In a sequence. Real files have a handful."""

Part = TypeVar("Part")


class Component:
    """One object of the file, such as a normalizer, and where it stands."""

    def __init__(self, path: Path, place: str, content: object) -> None:
        self.path = path
        self.place = place
        if not isinstance(content, dict):
            raise self.error("must be an object")
        self.content: Mapping[str, object] = content

    def error(self, reason: str) -> TokenizerFileError:
        return TokenizerFileError(self.path, f"{self.place} {reason}")

    def unsupported(self, what: str) -> UnsupportedComponentError:
        return UnsupportedComponentError(self.path, self.place, what)

    @property
    def type(self) -> str:
        return self.text("type")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.content.get(key, default)
        if not isinstance(value, str):
            raise self.error(f"must have a text {key!r}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(f"has a lone surrogate in {key!r}")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.content.get(key) is None else self.text(key)

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"must have true or false as {key!r}")
        return value

    def optional_flag(self, key: str) -> bool | None:
        return None if self.content.get(key) is None else self.flag(key, False)

    def count(self, key: str, default: int | None = None) -> int:
        value = self.content.get(key, default)
        if type(value) is not int or not 0 <= value < 2**31:
            raise self.error(f"must have a count as {key!r}")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.content.get(key)
        if not isinstance(value, list):
            raise self.error(f"must have a list {key!r}")
        return value

    def vocab(self, key: str = "vocab") -> dict[str, int]:
        value = self.content.get(key)
        if not isinstance(value, dict) or not all(type(i) is int and 0 <= i < 2**31 for i in value.values()):
            raise self.error(f"must have {key!r} that maps texts to ids")
        self.check_texts(key, value)
        return value

    def check_texts(self, key: str, texts: Iterable[str]) -> None:
        """Raise TokenizerFileError if one cannot be written to a file."""
        try:
            "".join(texts).encode("utf-8")
        except UnicodeEncodeError:
            raise self.error(f"has a lone surrogate in {key!r}") from None

    def child(self, key: str) -> Component | None:
        value = self.content.get(key)
        return None if value is None else Component(self.path, f"{self.place}.{key}" if self.place else key, value)

    def children(self, key: str) -> list[Component]:
        values = self.items(key)
        if len(values) > MAX_COMPONENTS:
            raise self.error(f"has {len(values)} {key}, more than {MAX_COMPONENTS}")
        return [Component(self.path, f"{self.place}.{key}[{i}]", value) for i, value in enumerate(values)]

    def long_list(self, key: str) -> Iterator[Component]:
        """Objects of a list that may be long, or absent."""
        for i, value in enumerate([] if self.content.get(key) is None else self.items(key)):
            yield Component(self.path, f"{key}[{i}]", value)

    def sequence(self, key: str, build: Callable[[Component], Part]) -> list[Part]:
        """What is built of the parts of a sequence. A sequence may hold sequences, but not many of them."""
        if self.place.count("[") >= 8:
            raise self.error("is nested too deep")
        return [build(child) for child in self.children(key)]

    def pattern(self, key: str = "pattern") -> Any:
        """A compiled pattern: `{"String": ...}`, a text as it stands, or `{"Regex": ...}`."""
        value = self.content.get(key)
        if isinstance(value, dict) and len(value) == 1:
            ((kind, text),) = value.items()
            if isinstance(text, str) and kind in ("String", "Regex"):
                try:
                    return compile_pattern(to_regex(text) if kind == "Regex" else _escaped(text), multiline=True)
                except ValueError as error:
                    raise self.error(f"has the pattern {text[:80]!r}: {error}") from None
        raise self.error(f"must have {key!r} with one text, 'String' or 'Regex'")


def _escaped(text: str) -> str:
    import regex

    return str(regex.escape(text, special_only=True, literal_spaces=True))
