"""From documents to one line of tokens, and the part of the held-out text that evaluations read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt_scratch.errors import CorpusError
from gpt_scratch.protocols import Tokenizer


def token_stream(texts: Iterable[str], tokenizer: Tokenizer) -> Tensor:
    """All documents in one row: (N,), int64. Each ends with EOS, if the tokenizer has one."""
    ids: list[int] = []
    for text in texts:
        ids += tokenizer.encode(text)
        if tokenizer.eos_id is not None:
            ids.append(tokenizer.eos_id)
    return torch.tensor(ids, dtype=torch.int64)


def fingerprint(stream: Tensor) -> str:
    """SHA-256 of the tokens, to notice that a run is resumed on another text."""
    return hashlib.sha256(stream.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class HeldOut:
    """What an evaluation reads. Each of `ids[1:]` is predicted from what stands before it."""

    ids: Tensor
    """(N,), int64: an EOS to predict the first token from, then the documents, each with its EOS. A tokenizer without
    EOS gives the bare documents, whose very first token then counts no nats."""
    is_text: Tensor
    """(N - 1,), bool: whether the predicted token is text, and not an EOS."""
    num_bytes: int
    """Length of the documents in UTF-8."""


def held_out(texts: Iterable[str], tokenizer: Tokenizer, max_tokens: int) -> HeldOut:
    """The first documents, up to about `max_tokens` tokens; the one that would not fit is cut at a character.

    The cut document is tokenized again, so that bytes and tokens are those of the same text.
    """
    eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    ids, is_text, num_bytes = list(eos), [False] * len(eos), 0
    for text in texts:
        room = max_tokens - len(ids)
        if room <= 0:
            break
        tokens = tokenizer.encode(text)
        if len(tokens) > room:
            text = text[: max(1, len(text) * room // len(tokens))]
            tokens = tokenizer.encode(text)
        ids += tokens + eos
        is_text += [True] * len(tokens) + [False] * len(eos)
        num_bytes += len(text.encode("utf-8", errors="surrogatepass"))
    if len(ids) < 2 or num_bytes == 0:
        raise CorpusError(f"the held-out text has {len(ids)} tokens and {num_bytes} bytes: too little to judge on")
    return HeldOut(torch.tensor(ids, dtype=torch.int64), torch.tensor(is_text[1:]), num_bytes)
