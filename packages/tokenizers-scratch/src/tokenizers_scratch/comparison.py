"""Tokenizers side by side on one text: how short, how whole the words, how much of the vocabulary, how fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import regex

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.utf8 import text_to_bytes
from tokenizers_scratch.viewing import shown_name
from tokenizers_scratch.viewing_html import html_table, page

_WORD = regex.compile(r"\w++")
_ENOUGH = 0.2
"""Seconds after which a measurement of speed is not repeated."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One tokenizer on one text."""

    name: str
    vocab_size: int
    tokens: int
    bytes_per_token: float
    characters_per_token: float
    tokens_per_word: float
    """Also called fertility; a word is a run of letters, digits and marks."""
    vocabulary_used: float
    """The share of the vocabulary that is in the text."""
    unknown: int
    """How many tokens stand for something that the tokenizer does not know."""
    comes_back: bool
    """Whether decoding gives the text."""
    megabytes_per_second: float
    """Encoding, after a first time: the best of a few."""


def measure(name: str, tokenizer: BaseTokenizer, text: str) -> Measured:
    """Encode a text some times and count. Raises ValueError if there is no text."""
    if not text:
        raise ValueError("text: got '', must not be empty: there is nothing to compare")
    ids = tokenizer.encode(text)
    n_bytes = len(text_to_bytes(text))
    words = sum(1 for _ in _WORD.finditer(text))
    return Measured(
        name=name,
        vocab_size=tokenizer.vocab_size,
        tokens=len(ids),
        bytes_per_token=n_bytes / max(1, len(ids)),
        characters_per_token=len(text) / max(1, len(ids)),
        tokens_per_word=len(ids) / max(1, words),
        vocabulary_used=len(set(ids)) / tokenizer.vocab_size,
        unknown=ids.count(tokenizer.unk_id) if tokenizer.unk_id is not None else 0,
        comes_back=tokenizer.decode(ids) == text,
        megabytes_per_second=n_bytes / 1e6 / _seconds(tokenizer, text),
    )


def _seconds(tokenizer: BaseTokenizer, text: str) -> float:
    best, spent = float("inf"), 0.0
    for _ in range(5):
        started = time.perf_counter()
        tokenizer.encode_to_numpy(text)
        took = time.perf_counter() - started
        best, spent = min(best, took), spent + took
        if spent > _ENOUGH:
            break
    return max(best, 1e-9)


COLUMNS = (
    "tokenizer", "vocabulary", "tokens", "bytes/token", "chars/token", "tokens/word", "used", "unknown", "comes back",
    "MB/s",
)  # fmt: skip


def cells(measured: Measured) -> tuple[str, ...]:
    """A row under `COLUMNS`."""
    return (
        shown_name(measured.name),
        str(measured.vocab_size),
        str(measured.tokens),
        f"{measured.bytes_per_token:.2f}",
        f"{measured.characters_per_token:.2f}",
        f"{measured.tokens_per_word:.2f}",
        f"{measured.vocabulary_used:.1%}",
        str(measured.unknown),
        "yes" if measured.comes_back else "no",
        f"{measured.megabytes_per_second:.1f}",
    )


def comparison_page(title: str, rows: Sequence[Measured]) -> str:
    """The table, and bytes per token as a chart."""
    table = html_table(COLUMNS, [tuple(map(escape, cells(row))) for row in rows])
    return page(title, table, "<h2>Bytes per token</h2>", bar_chart([(row.name, row.bytes_per_token) for row in rows]))


def bar_chart(values: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars, as SVG to stand in a page."""
    most = max((value for _, value in values), default=0.0) or 1.0
    height = 28 * len(values)
    lines = [f'<svg role="img" width="100%" viewBox="0 0 640 {height}" style="max-width: 640px">']
    for i, (name, value) in enumerate(values):
        width = 400 * value / most
        middle = 28 * i + 18
        shown = shown_name(name)
        short = shown if len(shown) <= 20 else shown[:19] + "…"
        lines += [
            f'<text x="150" y="{middle}" text-anchor="end">{escape(short)}</text>',
            f'<rect x="160" y="{28 * i + 5}" width="{width:.1f}" height="18" fill="#5b8def"/>',
            f'<text x="{166 + width:.1f}" y="{middle}">{value:.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>"])
