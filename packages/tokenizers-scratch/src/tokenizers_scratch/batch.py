"""Rows of ids as a rectangle, with a mask that says which of them are real."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tokenizers_scratch.base import BaseTokenizer

Side = Literal["left", "right"]


class PaddedBatch(NamedTuple):
    """Rows of one length. The mask comes from lengths and never from ids, so a real padding id in a row stays real."""

    ids: list[list[int]]  # (B, T)
    mask: list[list[int]]  # (B, T), 1 where an id is real, 0 where it is padding


def pad_rows(
    rows: Iterable[Sequence[int]],
    *,
    pad_id: int,
    max_length: int | None = None,
    to_max_length: bool = False,
    padding_side: Side = "right",
    truncation_side: Side = "right",
) -> PaddedBatch:
    """Cut rows that are longer than `max_length`, and fill the shorter ones up.

    All rows get the length of the longest, or `max_length` with `to_max_length`. Pad on the left to generate, on the
    right to train. The truncation side is where ids are dropped. Raises ValueError for a length that makes no sense.
    """
    for name, side in (("padding_side", padding_side), ("truncation_side", truncation_side)):
        if side not in ("left", "right"):
            raise ValueError(f"{name}: got {side!r}, must be left or right: a row has no other end")
    if max_length is None and to_max_length:
        raise ValueError("to_max_length: got True, must be False without max_length: there is no length to fill up to")
    if max_length is not None and (type(max_length) is not int or max_length < 0):
        raise ValueError(f"max_length: got {max_length!r}, must be an integer from 0 up: it is a number of ids")
    cut = [list(row) for row in rows]
    if max_length is not None:
        cut = [row[max(len(row) - max_length, 0) :] if truncation_side == "left" else row[:max_length] for row in cut]
    length = max_length if to_max_length and max_length is not None else max(map(len, cut), default=0)
    if padding_side == "left":
        return PaddedBatch(
            [[pad_id] * (length - len(row)) + row for row in cut],
            [[0] * (length - len(row)) + [1] * len(row) for row in cut],
        )
    return PaddedBatch(
        [row + [pad_id] * (length - len(row)) for row in cut],
        [[1] * len(row) + [0] * (length - len(row)) for row in cut],
    )


def batch_encode_with_padding(
    tokenizer: BaseTokenizer, texts: Iterable[str], max_length: int | None = None, *, padding_side: Side = "right"
) -> PaddedBatch:
    """Ids of several texts in a rectangle, as long as the longest, or as `max_length` if that is given."""
    return tokenizer.encode_padded(
        texts, max_length=max_length, to_max_length=max_length is not None, padding_side=padding_side
    )
