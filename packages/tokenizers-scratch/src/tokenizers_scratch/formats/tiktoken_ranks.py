"""tiktoken's rank files: a line for each token, its bytes in base64 and its rank, its id and its merge's place.

The file holds neither the split pattern nor the special tokens, so both have to be said. It holds no merges either:
tiktoken joins whatever two neighbours make a token of the lowest rank. The merge of a token is what is left of it when
it is encoded with the tokens of lower rank: two parts, in a vocabulary that training made.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.bpe_merge import merge_word
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.patterns import PATTERNS, published_form
from tokenizers_scratch.special_tokens import ROLES, SpecialTokens
from tokenizers_scratch.storage import read_text, write_in_one_step

MAX_UNUSED = 2**16
"""How many ids between the ranks and the special tokens may be without token."""


def read_tiktoken(
    path: Path | str,
    /,
    special_tokens: Mapping[str, int] | None = None,
    *,
    pattern: str,
    eos_token: str | None = "<|endoftext|>",
) -> BPETokenizer:
    """A tokenizer from a rank file, its special tokens with their ids, and its pattern.

    Ids that neither have a rank nor are special (as in `cl100k_base`) become special tokens called `<|unused_ID|>`.
    Raises TokenizerFileError for a file that is not in the format, lacks a rank, or holds a token that cannot be made
    of two others.
    """
    path = Path(path)
    ranks = read_ranks(path)
    special = dict(special_tokens or {})
    taken = set(special.values())
    if clash := sorted(taken & set(ranks.values())):
        raise TokenizerFileError(path, f"the id {clash[0]} is that of a special token, and a rank too")
    end = max((len(ranks), *(i + 1 for i in taken)))
    unused = end - len(ranks) - len(taken)
    if unused > MAX_UNUSED:
        raise ValueError(f"special_tokens: got ids up to {end - 1}, must not leave {unused} ids without token")
    first = min(ranks.values())
    special |= {f"<|unused_{i}|>": i for i in range(end) if i not in taken and not first <= i < first + len(ranks)}
    roles = ROLES if eos_token not in special else {**ROLES, "eos": eos_token}
    try:
        merges = merges_from_ranks(ranks)
        vocab = {rank: token for token, rank in ranks.items()}
        return BPETokenizer(vocab, merges, SpecialTokens(special, roles), pattern=pattern)
    except ValueError as error:
        raise TokenizerFileError(path, str(error)) from None


def write_tiktoken(tokenizer: BPETokenizer, path: Path | str) -> None:
    """Write the ranks of a tokenizer. Raises ValueError if no ranks give the ids that this tokenizer gives."""
    ranks = tiktoken_arguments(tokenizer)["mergeable_ranks"]
    lines = (f"{b64encode(token).decode('ascii')} {rank}\n" for token, rank in ranks.items())
    write_in_one_step(path, "".join(lines).encode("ascii"))


def tiktoken_arguments(tokenizer: BPETokenizer) -> dict[str, Any]:
    """What `tiktoken.Encoding` takes besides a name: `pat_str`, `mergeable_ranks`, `special_tokens`.

    Raises ValueError if no ranks give the ids that this tokenizer gives: if ids and merges are not in one order.
    """
    special = set(tokenizer.special_tokens.values())
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special}
    if merges_from_ranks(ranks) != list(tokenizer.merges):
        raise ValueError("the merges do not follow from the order of ids, which is all that tiktoken knows")
    return {
        "pat_str": _pat_str(tokenizer.pattern),
        "mergeable_ranks": ranks,
        "special_tokens": dict(tokenizer.special_tokens),
    }


def _pat_str(pattern: str) -> str:
    """tiktoken drops what its pattern does not match; here that is a word, up to where the pattern matches again."""
    if pattern in PATTERNS:
        return published_form(pattern)
    return rf"(?:{pattern})|(?:(?!{pattern})[\s\S])+"


def read_ranks(path: Path | str) -> dict[bytes, int]:
    """Tokens with their ranks, in order of rank. Raises TokenizerFileError."""
    path = Path(path)
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line:
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not (parts[1].isascii() and parts[1].isdigit()) or len(parts[1]) > 9:
            raise TokenizerFileError(path, f"line {number} is no token with a rank: {line[:80]!r}")
        try:
            token = b64decode(parts[0], validate=True)
        except binascii.Error as error:
            raise TokenizerFileError(path, f"line {number} is not base64: {error}") from None
        if not token:
            raise TokenizerFileError(path, f"line {number} has an empty token")
        if token in ranks:
            raise TokenizerFileError(path, f"line {number} has the token {token!r} again")
        ranks[token] = int(parts[1])
    if not ranks:
        raise TokenizerFileError(path, "there are no ranks")
    ordered = dict(sorted(ranks.items(), key=lambda item: item[1]))
    previous: int | None = None
    for rank in ordered.values():
        if previous is not None and rank != previous + 1:
            problem = f"rank {rank} is there twice" if rank == previous else f"rank {previous + 1} is missing"
            raise TokenizerFileError(path, problem)
        previous = rank
    return ordered


def merges_from_ranks(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merge that makes each token of more than one byte, by rank. Raises ValueError if one cannot be made."""
    id_of = {bytes((byte,)): byte for byte in range(256)}
    tokens = list(id_of)
    pairs: dict[tuple[int, int], int] = {}
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=lambda token: ranks[token]):
        if len(token) == 1:
            continue
        parts = merge_word(list(token), pairs, range(256, 256 + len(pairs)))
        if len(parts) != 2:
            shown = repr(token[:40]) + ("..." if len(token) > 40 else "")
            raise ValueError(f"the token {shown} (rank {ranks[token]}) is made of {len(parts)} tokens before it, not 2")
        pairs[parts[0], parts[1]] = len(merges)
        merges.append((tokens[parts[0]], tokens[parts[1]]))
        tokens.append(token)
    return merges
