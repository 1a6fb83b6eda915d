"""One JSON file per tokenizer: written in one step, read with suspicion.

The file is an object with `format`, `version`, `type` (the tokenizer), `special_tokens` (text -> id), `roles`, and
what the type adds. Reading refuses what is not exactly that, naming the file and the reason, before anything is built
from it: too large, not UTF-8, not JSON, keys given twice, nesting too deep, another format, version or type, missing
or unknown keys, values of a wrong type.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.special_tokens import SpecialTokens

FILE_NAME = "scratch-tokenizer.json"
FORMAT = "tokenizers-scratch"
VERSION = 1
MAX_BYTES = 64 * 2**20
"""What is larger is refused unread; 200,000 tokens with their merges need about a fifth of it."""

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_COMMON_KEYS = frozenset({"format", "version", "type", "special_tokens", "roles"})


def write_tokenizer(directory: Path, kind: str, special_tokens: SpecialTokens, body: Mapping[str, Any]) -> None:
    """Write the tokenizer's file into `directory`, which is made if it is not there. Equal content, equal bytes."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "type": kind,
        "special_tokens": dict(special_tokens.ids),
        "roles": dict(special_tokens.roles),
        **body,
    }
    save_tokenizer_data(directory / FILE_NAME, content)


def save_tokenizer_data(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object in one step: whoever reads the file finds the old content or the new."""
    text = json.dumps(data, ensure_ascii=False, indent=0)
    # ASCII escapes also carry lone surrogates, which a `char` alphabet may hold. But two that make a pair would come
    # back as the character they stand for in UTF-16, unless they are written as they are.
    if not _SURROGATE_PAIR.search(text):
        text = json.dumps(data, ensure_ascii=True, indent=0)
    write_in_one_step(path, (text + "\n").encode("utf-8", "surrogatepass"))


def write_in_one_step(path: Path | str, data: bytes) -> None:
    """Write a file, in a directory that is made if it is not there: nobody ever finds half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


def load_tokenizer_data(path: Path) -> dict[str, object]:
    """The JSON object in a file. Raises TokenizerFileError for anything else, and for what could only do harm."""
    return read_json_object(path, "surrogatepass")


@dataclass(frozen=True)
class TokenizerFile:
    """The content of a tokenizer's file, handed out only in the type that is asked for."""

    path: Path
    content: Mapping[str, object]
    special_tokens: SpecialTokens

    def error(self, reason: str) -> TokenizerFileError:
        return TokenizerFileError(self.path, reason)

    def text(self, key: str) -> str:
        value = self.content[key]
        if not isinstance(value, str):
            raise self.error(f"{key!r} must be a text")
        return value

    def flag(self, key: str) -> bool:
        value = self.content[key]
        if not isinstance(value, bool):
            raise self.error(f"{key!r} must be true or false")
        return value

    def number(self, key: str) -> int:
        value = self.content[key]
        if type(value) is not int or not 0 <= value < 2**31:
            raise self.error(f"{key!r} must be a count")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.content[key]
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.error(f"{key!r} must be a list of texts")
        return value

    def numbers(self, key: str) -> list[int]:
        value = self.content[key]
        if not isinstance(value, list) or not all(type(i) is int and i >= 0 for i in value):
            raise self.error(f"{key!r} must be a list of integers from 0 up")
        return value

    def scored(self, key: str) -> dict[int, tuple[str, float]]:
        """A list of [id, text, score]."""
        value = self.content[key]
        if not isinstance(value, list):
            raise self.error(f"{key!r} must be a list")
        scored: dict[int, tuple[str, float]] = {}
        for n, entry in enumerate(value):
            if not isinstance(entry, list) or [type(part) for part in entry] not in (
                [int, str, float],
                [int, str, int],
            ):
                raise self.error(f"{key!r}[{n}] must be a list of an id, a text and a number")
            i, text, score = entry
            if i < 0 or i in scored or abs(score) > 1e30:
                raise self.error(f"{key!r}[{n}] has an id or a number that cannot be, or an id that another one has")
            scored[i] = (text, float(score))
        return scored

    def ids(self, key: str) -> dict[str, int]:
        return check_ids(self.path, repr(key), self.content[key])

    def pairs(self, key: str) -> list[tuple[str, str]]:
        value = self.content[key]
        if not isinstance(value, list):
            raise self.error(f"{key!r} must be a list")
        pairs = []
        for i, pair in enumerate(value):
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
                raise self.error(f"{key!r}[{i}] must be a list of two texts")
            pairs.append((pair[0], pair[1]))
        return pairs


def read_tokenizer(
    directory: Path, kind: str, keys: frozenset[str], optional: frozenset[str] = frozenset()
) -> TokenizerFile:
    """The file in `directory`, if it holds a tokenizer of type `kind` with exactly `keys` besides the common ones.

    `optional`: keys that may be there, too.
    """
    path = Path(directory) / FILE_NAME
    content = load_tokenizer_data(path)
    if content.get("format") != FORMAT:
        raise TokenizerFileError(path, f"no tokenizer file: 'format' is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise TokenizerFileError(path, f"version {content.get('version')!r} is unknown; this package reads {VERSION}")
    if content.get("type") != kind:
        raise TokenizerFileError(path, f"holds a {content.get('type')!r} tokenizer, not {kind!r}")
    if missing := sorted((_COMMON_KEYS | keys) - set(content)):
        raise TokenizerFileError(path, f"{missing[0]!r} is missing")
    if unknown := sorted(set(content) - _COMMON_KEYS - keys - optional):
        raise TokenizerFileError(path, f"unknown key {unknown[0]!r}")
    return TokenizerFile(path, content, _special_tokens(path, content))


def read_json_object(path: Path, surrogates: str = "strict") -> dict[str, object]:
    """A JSON object from a file that may be anything. `surrogates`: "surrogatepass" lets them stand in the text."""
    text = read_text(path, surrogates)
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise TokenizerFileError(path, "nested too deep") from None
    except ValueError as error:
        raise TokenizerFileError(path, f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TokenizerFileError(path, "no JSON object")
    return content


def read_text(path: Path, surrogates: str = "strict") -> str:
    """A UTF-8 text of bounded size."""
    try:
        return read_bytes(path).decode("utf-8", surrogates)
    except UnicodeDecodeError as error:
        raise TokenizerFileError(path, f"not UTF-8: byte {error.start}") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file of bounded size."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TokenizerFileError(path, f"{size} bytes, more than the {MAX_BYTES} that are read")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # bounded here too: the size of a pipe or device is 0
    except OSError as error:
        raise TokenizerFileError(path, error.strerror or "cannot be read") from error
    if len(data) > MAX_BYTES:
        raise TokenizerFileError(path, f"more than the {MAX_BYTES} bytes that are read")
    return data


def _special_tokens(path: Path, content: Mapping[str, object]) -> SpecialTokens:
    roles = content["roles"]
    if not isinstance(roles, dict) or not all(isinstance(token, str) for token in roles.values()):
        raise TokenizerFileError(path, "'roles' must map roles to special tokens")
    ids = check_ids(path, "'special_tokens'", content["special_tokens"])
    try:
        special_tokens = SpecialTokens(ids, roles)
    except ValueError as error:
        raise TokenizerFileError(path, str(error)) from error
    if special_tokens.roles != roles:
        raise TokenizerFileError(path, "'roles' names an unknown role, or a token that is not in 'special_tokens'")
    return special_tokens


def check_ids(path: Path, what: str, value: object) -> dict[str, int]:
    """`value`, if it maps texts to ids."""
    if not isinstance(value, dict) or not all(type(i) is int and i >= 0 for i in value.values()):
        raise TokenizerFileError(path, f"{what} must map texts to ids, integers from 0 up")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} is given twice")
    return content


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
