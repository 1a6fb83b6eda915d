"""The tokenizers of this package by name, as the plugin offers them: the only list of names there is."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tokenizers_scratch import plugin
from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.storage import FILE_NAME, read_json_object


@dataclass(frozen=True)
class Offer:
    """One entry: what `register` was told."""

    name: str
    target: str
    config: str
    summary: str

    def load(self) -> type[Any]:
        """The class, a BaseTokenizer with `train(texts, config)`."""
        return cast("type[Any]", pkgutil.resolve_name(self.target))

    def load_config(self) -> type[Any]:
        """The class of its options."""
        return cast("type[Any]", pkgutil.resolve_name(self.config))


def offers() -> dict[str, Offer]:
    """What there is, by name, in the order of the plugin."""
    found: dict[str, Offer] = {}

    def record(name: str, target: str, /, *, config: str, summary: str, **_: object) -> None:
        found[name] = Offer(name, target, config, summary)

    plugin.register_tokenizers(record)
    return found


def load_tokenizer(place: Path | str) -> BaseTokenizer:
    """The tokenizer that was saved in a directory, whichever it is.

    The directory may also be that of a run or a data set, which have one inside, or hold the files of GPT-2
    (`vocab.json` and `merges.txt`), a `tokenizer.json`, or one `.model` of sentencepiece. Any of these files may be
    named itself, and a `.tiktoken` file: with its pattern, `FILE.tiktoken:gpt4`, unless its name is one that tiktoken
    has. Raises TokenizerFileError, naming file and reason.
    """
    folder, pattern = rank_file(place)
    if folder.is_file():
        return _from_one_file(folder, pattern)
    if not (folder / FILE_NAME).exists() and (folder / "tokenizer").is_dir():
        folder /= "tokenizer"
    path = folder / FILE_NAME
    if not path.exists():
        if (folder / "tokenizer.json").exists():
            return _from_tokenizer_json(folder / "tokenizer.json")
        if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            from tokenizers_scratch.bpe import BPETokenizer

            return BPETokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
        if len(models := sorted(folder.glob("*.model"))) == 1:
            return _from_one_file(models[0], None)
    kind = read_json_object(path).get("type")
    offer = offers().get(kind) if isinstance(kind, str) else None
    if offer is None:
        raise TokenizerFileError(path, f"holds a {kind!r} tokenizer; known are {', '.join(offers())}")
    tokenizer: BaseTokenizer = offer.load().load(folder)
    return tokenizer


def rank_file(place: Path | str) -> tuple[Path, str | None]:
    """A place, and the pattern if it is a `.tiktoken` file with one behind it."""
    name, colon, pattern = str(place).partition(".tiktoken:")
    return (Path(name + ".tiktoken"), pattern) if colon else (Path(place), None)


def _from_one_file(path: Path, pattern: str | None) -> BaseTokenizer:
    if path.suffix == ".model":
        from tokenizers_scratch.formats.sentencepiece_file import load_sentencepiece

        return load_sentencepiece(path)
    if path.suffix == ".tiktoken":
        return _from_ranks(path, pattern)
    if path.name == FILE_NAME:
        return load_tokenizer(path.parent)
    if path.name in ("vocab.json", "merges.txt"):
        from tokenizers_scratch.bpe import BPETokenizer

        return BPETokenizer.from_files(path.with_name("vocab.json"), path.with_name("merges.txt"))
    if path.suffix == ".json":
        return _from_tokenizer_json(path)
    raise TokenizerFileError(path, "is no .json, .model or .tiktoken file, and no directory with a tokenizer")


_GPT2_SPECIAL = {"<|endoftext|>": 50256}
_FILL_IN = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
_PUBLISHED_RANKS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "gpt2": ("gpt2", _GPT2_SPECIAL),
    "r50k_base": ("gpt2", _GPT2_SPECIAL),
    "cl100k_base": ("gpt4", {"<|endoftext|>": 100257, **_FILL_IN, "<|endofprompt|>": 100276}),
}
"""Patterns and special tokens of the files that tiktoken publishes, which hold neither."""


def _from_ranks(path: Path, pattern: str | None) -> BaseTokenizer:
    from tokenizers_scratch.formats.tiktoken_ranks import read_tiktoken

    special: Mapping[str, int] = {}
    if pattern is None:
        if path.stem not in _PUBLISHED_RANKS:
            reason = f"does not say how text is cut into words: name the pattern, as in {path.name}:gpt4"
            raise TokenizerFileError(path, reason)
        pattern, special = _PUBLISHED_RANKS[path.stem]
    return read_tiktoken(path, special, pattern=pattern)


def _from_tokenizer_json(path: Path) -> BaseTokenizer:
    """Our own tokenizer if the file is that, which is faster, else whatever it says."""
    from tokenizers_scratch.formats.tokenizer_json import read_own_tokenizer_json

    try:
        return read_own_tokenizer_json(path)
    except TokenizerFileError:
        if "hf" not in offers():
            raise
    tokenizer: BaseTokenizer = offers()["hf"].load().from_file(path)
    return tokenizer
