"""The tokenizers of this package by name, as the plugin offers them: the only list of names there is."""

from __future__ import annotations

import pkgutil
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
    (`vocab.json` and `merges.txt`) or a `tokenizer.json`. Raises TokenizerFileError, naming file and reason.
    """
    folder = Path(place)
    if not (folder / FILE_NAME).exists() and (folder / "tokenizer").is_dir():
        folder /= "tokenizer"
    path = folder / FILE_NAME
    if not path.exists():
        if (folder / "tokenizer.json").exists():
            return _from_tokenizer_json(folder / "tokenizer.json")
        if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            from tokenizers_scratch.bpe import BPETokenizer

            return BPETokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
    kind = read_json_object(path).get("type")
    offer = offers().get(kind) if isinstance(kind, str) else None
    if offer is None:
        raise TokenizerFileError(path, f"holds a {kind!r} tokenizer; known are {', '.join(offers())}")
    tokenizer: BaseTokenizer = offer.load().load(folder)
    return tokenizer


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
