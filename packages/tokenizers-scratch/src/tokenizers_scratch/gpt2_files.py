"""Read and write `vocab.json` and `merges.txt`, the two files in which GPT-2's tokenizer was published.

`vocab.json` maps tokens, spelled in the stand-ins of `byte_alphabet.py`, to ids. `merges.txt` holds one merge a line,
two tokens with a space between; only a first line that begins with `#version` is a comment, for `#` is a token too
(eight of GPT-2's merges begin with it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers_scratch.byte_alphabet import from_stand_ins, to_stand_ins
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.storage import check_ids, read_json_object, read_text, write_in_one_step


@dataclass(frozen=True)
class GPT2Files:
    """What the two files say: bytes of each id, merges from the earliest on, ids of the special tokens."""

    vocab: dict[int, bytes]
    merges: list[tuple[bytes, bytes]]
    special_tokens: dict[str, int]


def read_gpt2_files(vocab: Path, merges: Path, special_tokens: Sequence[str] | None) -> GPT2Files:
    """Read both. Raises TokenizerFileError, naming the file, for what is not in the format.

    `special_tokens`: None takes every entry that is neither a single byte nor made by a merge (in GPT-2's files,
    `<|endoftext|>`). Those that `vocab` does not hold have the next free ids.
    """
    entries = check_ids(vocab, "the vocabulary", dict(read_json_object(vocab)))
    pairs = read_merges(merges)
    if special_tokens is None:
        made = {left + right for left, right in pairs}
        special_tokens = [text for text in entries if text not in made and len(text) != 1]
    special: dict[str, int] = {}
    unused = len(entries)
    for token in special_tokens:
        special[token] = entries.pop(token, unused)
        unused += special[token] == unused
    tokens: dict[int, bytes] = {}
    for text, i in entries.items():
        if i in tokens:
            raise TokenizerFileError(vocab, f"two tokens have the id {i}")
        try:
            tokens[i] = from_stand_ins(text)
        except ValueError as error:
            raise TokenizerFileError(vocab, str(error)) from None
    try:
        return GPT2Files(tokens, [(from_stand_ins(left), from_stand_ins(right)) for left, right in pairs], special)
    except ValueError as error:
        raise TokenizerFileError(merges, str(error)) from None


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of a `merges.txt`, still in stand-ins."""
    lines = read_text(path).split("\n")  # not splitlines, which also cuts at other characters
    pairs = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise TokenizerFileError(path, f"line {number} is no pair of tokens: {line[:80]!r}")
        pairs.append((parts[0], parts[1]))
    return pairs


def spell_vocab(vocab: Mapping[int, bytes], special_tokens: Mapping[str, int]) -> dict[str, int]:
    """Tokens as they are written in files, bytes in stand-ins and special tokens as they are, with their ids.

    Raises ValueError if a special token is written like an ordinary one.
    """
    special = {i: token for token, i in special_tokens.items()}
    entries: dict[str, int] = {}
    for i, token in vocab.items():
        text = special[i] if i in special else to_stand_ins(token)
        if text in entries:
            raise ValueError(f"ids {entries[text]} and {i} are both written {text!r}, so one of them has to go")
        entries[text] = i
    return entries


def write_gpt2_files(files: GPT2Files, vocab: Path | str, merges: Path | str) -> None:
    """Write both; a reader has to be told which entries are special tokens. Raises ValueError as `spell_vocab`."""
    entries = spell_vocab(files.vocab, files.special_tokens)
    lines = (f"{to_stand_ins(left)} {to_stand_ins(right)}\n" for left, right in files.merges)
    write_in_one_step(vocab, (json.dumps(entries, ensure_ascii=False) + "\n").encode("utf-8"))
    write_in_one_step(merges, "".join(("#version: 0.2\n", *lines)).encode("utf-8"))
