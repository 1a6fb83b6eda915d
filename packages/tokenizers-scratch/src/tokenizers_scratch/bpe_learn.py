"""From a stream of texts to merges: count words, then learn; by kernels where that is quicker, with the same result.

Memory grows with the number of different words, not with the text.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf
from typing import TYPE_CHECKING

from tokenizers_scratch.base import each_text
from tokenizers_scratch.bpe_train import learn_merges
from tokenizers_scratch.byte_alphabet import BYTE_ORDER
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.errors import EmptyCorpusError
from tokenizers_scratch.kernels.loading import LOADER
from tokenizers_scratch.patterns import PATTERNS, SplitPattern, faster, split_pattern, whole_words
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.utf8 import text_to_bytes

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.trainer import Trainer

_WINDOW = 2**16  # characters of one text that are cut into words at a time

# What plain Python does in a second, about; it decides whether kernels are worth loading.
_COUNTED = 15_000_000  # characters
_LEARNED = 500_000  # bytes of different words
_PROBED = 6_000_000  # characters that are looked at before it is decided; a text of more is worth it


def learn_from_texts(
    texts: Iterable[str], config: BPEConfig, special_tokens: SpecialTokens, threads: int | None = None
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Tokens in the order of their ids, special tokens left out, and merges in the order they were learned.

    `threads`: how many count words; None takes one a core. Raises EmptyCorpusError if there is no text.
    """
    pattern = split_pattern(config.pattern)
    parts = text_parts(texts, pattern, special_tokens)
    first, characters = _first(parts, _PROBED)
    if not any(first):
        raise EmptyCorpusError("the training text is empty: there is no word to learn from")
    trainer = None
    word_counts: dict[bytes, int] = {}
    if config.pattern in PATTERNS:
        trainer = _trainer(config.pattern, threads, characters / _COUNTED if characters < _PROBED else inf)
    if trainer is not None:
        trainer.count(chain(first, parts))
    else:
        counts: Counter[str] = Counter()
        split = faster(pattern)
        for part in chain(first, parts):
            counts.update(split(part))
        word_counts = {text_to_bytes(word): count for word, count in counts.items()}
        trainer = _trainer("none", 1, sum(map(len, word_counts)) / _LEARNED)
        if trainer is not None:
            trainer.add(word_counts)
    n_tokens = config.vocab_size - len(special_tokens)
    if trainer is not None:
        return trainer.learn(
            n_tokens=n_tokens,
            min_frequency=config.min_frequency,
            max_token_length=config.max_token_length,
            byte_order=BYTE_ORDER,
            ties=config.ties,
        )
    return learn_merges(
        word_counts,
        n_tokens=n_tokens,
        min_frequency=config.min_frequency,
        max_token_length=config.max_token_length,
        ties=config.ties,
    )


def text_parts(texts: Iterable[str], pattern: SplitPattern, special_tokens: SpecialTokens) -> Iterator[str]:
    """The texts without special tokens, in parts which no word goes beyond. A special token ends a word and is none."""
    for text in each_text(texts):
        if not any(token in text for token in special_tokens.ids):
            if len(text) <= _WINDOW:
                yield text
            else:
                yield from whole_words(_windows(text), pattern)
            continue
        for run in special_tokens.split(_windows(text), "all"):
            if not isinstance(run, int):
                yield from whole_words(run, pattern)


def _windows(text: str) -> Iterator[str]:
    return (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))


def _first(parts: Iterator[str], most: int) -> tuple[list[str], int]:
    """Parts with together about so many characters, or all there are; and how many characters that is."""
    taken, characters = [], 0
    for part in parts:
        taken.append(part)
        characters += len(part)
        if characters >= most:
            break
    return taken, characters


def _trainer(pattern: str, threads: int | None, seconds: float) -> Trainer | None:
    """Training by kernels, if they are worth it for a job that takes plain Python so many seconds."""
    trainer = LOADER.trainer(seconds)
    return trainer(pattern, threads or _cores()) if trainer else None


def _cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
