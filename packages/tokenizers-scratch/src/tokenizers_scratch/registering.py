"""Special tokens that are registered after training, and a tokenizer whose owner may do so: `BpeTokenizer`.

Tokenizers here never change, so that what was encoded once means the same for ever. `register_special_tokens` gives a
new one. `BpeTokenizer` holds one and puts another in its place when it is trained or tokens are registered, for those
who are used to that; what it held before stays as it was for whoever has it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.patterns import split_pattern
from tokenizers_scratch.special_tokens import AllowedSpecial, SpecialTokens, check_special_tokens
from tokenizers_scratch.training import train_bpe

END_OF_TEXT = "<|endoftext|>"


def register_special_tokens(
    tokenizer: BPETokenizer, tokens: Mapping[str, int], *, eos_token: str | None = END_OF_TEXT
) -> BPETokenizer:
    """The same tokenizer with more special tokens, given with their ids.

    A token that is registered already must keep its id. `eos_token`: which one ends a text, if none does so far.
    Raises ValueError for an id that another token has, and for ids that leave others without token.
    """
    check_special_tokens(tuple(tokens))
    special = dict(tokenizer.special_tokens)
    text_of = {i: token for token, i in special.items()}
    for token, i in tokens.items():
        if type(i) is not int or i < 0:
            raise ValueError(f"tokens: got {i!r} for {token!r}, must be an id: a whole number from 0 up")
        if special.get(token, i) != i or text_of.get(i, token) != token or (i in tokenizer.vocab and i not in text_of):
            raise ValueError(f"tokens: got {i} for {token!r}, must be free: it has another id, or the id another token")
        special[token], text_of[i] = i, token
    size = len(tokenizer.vocab.keys() | text_of.keys())
    if max(text_of, default=-1) >= size:
        free = next(i for i in range(size) if i not in tokenizer.vocab and i not in text_of)
        raise ValueError(f"tokens: got ids up to {max(text_of)}, must leave none out: the id {free} has no token")
    roles = {
        role: text_of[i] for role in ("pad", "unk", "bos", "eos") if (i := getattr(tokenizer, f"{role}_id")) is not None
    }
    if eos_token is not None and eos_token in special:
        roles.setdefault("eos", eos_token)
    ordinary = {i: token for i, token in tokenizer.vocab.items() if i not in text_of}
    return BPETokenizer(ordinary, tokenizer.merges, SpecialTokens(special, roles), pattern=tokenizer.pattern)


class BpeTokenizer:
    """Byte-level BPE that is trained, and given special tokens, after it is made. `tokenizer` is what it holds."""

    def __init__(self, regex_patterns: str | Sequence[str] = "gpt2") -> None:
        """`regex_patterns`: the name of a pattern, a regular expression, or several: the first that fits counts.

        Raises ValueError for what cannot be used.
        """
        several = not isinstance(regex_patterns, str)
        self._pattern = split_pattern("|".join(regex_patterns) if several else regex_patterns).name  # type: ignore[arg-type]
        self._tokenizer: BPETokenizer | None = None

    @property
    def tokenizer(self) -> BPETokenizer:
        """The tokenizer as it is now, which never changes. Raises ValueError if there is none yet."""
        if self._tokenizer is None:
            raise ValueError("there is no vocabulary yet: train first, or load one")
        return self._tokenizer

    def train(
        self,
        input_file_path: Path | str,
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        boundary_split_token: str | None = None,
        num_processes: int | None = None,
        verbose: bool = False,
    ) -> None:
        """Learn from a file, and forget what was there. `train_bpe` says more; it raises the errors.

        `vocab_size` counts bytes and merges; `special_tokens` come on top, in order, with the next ids.
        `boundary_split_token` ends a word as they do, and is not registered for that. `verbose`: say so on stderr.
        """
        started = time.monotonic()
        own = tuple(special_tokens)
        edges = own if boundary_split_token in (None, *own) else (*own, str(boundary_split_token))
        vocab, merges = train_bpe(input_file_path, vocab_size + len(edges), edges, num_processes, pattern=self._pattern)
        tokens = dict(enumerate(token for i, token in vocab.items() if i >= len(edges)))
        learned = BPETokenizer(tokens, merges, SpecialTokens({}), pattern=self._pattern)
        self._tokenizer = register_special_tokens(learned, {token: i for i, token in enumerate(own, len(tokens))})
        if verbose:
            seconds = time.monotonic() - started
            print(f"{self.tokenizer.vocab_size} tokens from {input_file_path} in {seconds:.1f} s", file=sys.stderr)

    def register_special_tokens(self, tokens: Mapping[str, int]) -> None:
        """Have these special tokens, too. Where the function of this name raises, nothing has changed."""
        self._tokenizer = register_special_tokens(self.tokenizer, tokens)

    def encode(self, text: str, allowed_special_tokens: AllowedSpecial = "none_raise") -> list[int]:
        """Ids of `text`. What looks like a special token is one with "all" or a set that holds it, text with "none",
        and else a SpecialTokenError."""
        return self.tokenizer.encode(text, allowed_special=allowed_special_tokens)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens included."""
        return self.tokenizer.decode(ids, skip_special=False)

    def save(self, directory: Path | str) -> None:
        """As `BPETokenizer.save`, special tokens included."""
        self.tokenizer.save(directory)

    @classmethod
    def load(cls, directory: Path | str) -> BpeTokenizer:
        """What `save` of this class or of BPETokenizer wrote. Raises TokenizerFileError."""
        held = BPETokenizer.load(directory)
        made = cls(held.pattern)
        made._tokenizer = held
        return made
