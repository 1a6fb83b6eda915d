"""Byte-level BPE from a file in one call, and a tokenizer of what it gives: `train_bpe` and `Tokenizer`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.bpe_learn import learn_from_texts
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.patterns import split_pattern, whole_words
from tokenizers_scratch.sources import Span, blocks, decoded
from tokenizers_scratch.special_tokens import ROLES, SpecialTokens, check_special_tokens

Tokenizer = BPETokenizer
"""`Tokenizer(vocab, merges, special_tokens)`, and `Tokenizer.load(directory)` of what `save` wrote."""


def train_bpe(
    input_path: Path | str,
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    num_processes: int | None = None,
    *,
    pattern: str = "gpt2",
    min_frequency: int = 1,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn from a UTF-8 file, also compressed with gzip: the bytes of each id, and the merges from the earliest on.

    `vocab_size` counts special tokens, which are the first ids, the 256 bytes, and merges. A special token in the file
    ends a word and is none. `num_processes`: how many threads count words (the kernels need no more than that), as
    many as there are cores if None; the result is the same. The file is read as a stream and its line ends are kept.

    Raises ValueError for options that make no sense, before anything is read, and TokenizerDataErrors for a file that
    cannot be read, is empty or is not UTF-8, with the place.
    """
    tokens = tuple(special_tokens)
    check_special_tokens(tokens)
    n_tokens = vocab_size - len(tokens)
    if n_tokens < 256:
        needed = 256 + len(tokens)
        raise ValueError(
            f"vocab_size: got {vocab_size}, must be at least {needed}: 256 bytes and {len(tokens)} special"
        )
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"num_processes: got {num_processes}, must be at least 1: something has to count")
    special = SpecialTokens({token: i for i, token in enumerate(tokens)})
    # The options ask for room for the four standard tokens, which are not here: learn a little more, and drop it.
    config = BPEConfig(vocab_size=max(vocab_size, 256 + len(ROLES)), pattern=pattern, min_frequency=min_frequency)
    texts = _texts(os.fspath(input_path), pattern, special)
    learned, merges = learn_from_texts(texts, config, special, num_processes)
    vocab = {i: token.encode("utf-8") for token, i in special.ids.items()}
    vocab.update(enumerate(learned[:n_tokens], len(tokens)))
    return vocab, merges[: n_tokens - 256]


def _texts(path: str, pattern: str, special_tokens: SpecialTokens) -> Iterator[str]:
    """The file without its special tokens, in parts that no word goes beyond."""
    split = split_pattern(pattern)
    for run in special_tokens.split(decoded(path, blocks(Span(path=path))), "all"):
        if not isinstance(run, int):
            yield from whole_words(run, split)
