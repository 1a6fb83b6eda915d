"""Which tokens of a row are learned, said by lengths: what each position reads, what it should predict, and where.

A position's target is a list of its own and not just the next id, which makes conversations exact: behind the last
token of an earlier reply the model should end its turn, although the text goes on with the next question. One pass over
a conversation then learns what one example for each of its replies would.

`tokenize_prompt_and_output` gives the same as three tensors, for those who write their own loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from align_scratch.protocols import Tokenizer
from inference_scratch.padding import pad_right


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Position t reads `reads[t]` and should predict `predicts[t]`; learned are the positions in `spans`."""

    reads: list[int]
    predicts: list[int]
    spans: tuple[tuple[int, int], ...]

    @property
    def learned(self) -> int:
        """How many tokens the row teaches."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def length(self) -> int:
        """Ids of the row, the end mark included."""
        return len(self.reads) + 1


def make_row(pieces: Sequence[tuple[Sequence[int], bool]], end: Sequence[int], *, everything: bool = False) -> TokenRow:
    """Runs of ids, each learned or only read, and the `end` mark behind the last: one row.

    A learned run teaches its ids and then the end mark; two with nothing between them are one. everything: every id but
    the first is learned, as in pretraining, and so is what follows a reply.
    """
    ids = [i for piece, _ in pieces for i in piece] + list(end)
    reads, predicts = ids[:-1], ids[1:]
    if everything:
        return TokenRow(reads, predicts, ((0, len(reads)),) if reads else ())
    spans = []
    stop = 0
    for learned, run in groupby((piece for piece in pieces if piece[0]), key=lambda piece: piece[1]):
        start, stop = stop, stop + sum(len(piece) for piece, _ in run)
        if not learned:
            continue
        if stop <= len(predicts) and end:
            predicts[stop - 1] = end[0]
        # Position t predicts id t + 1; nothing stands before id 0 that could predict it.
        span = max(start - 1, 0), stop if end else stop - 1
        if span[0] < span[1]:
            spans.append(span)
    return TokenRow(reads, predicts, tuple(spans))


def cut_row(row: TokenRow, max_length: int) -> TokenRow:
    """The row's first `max_length` ids; what is learned behind them is lost, the end mark first."""
    last = max_length - 1
    spans = tuple((start, min(stop, last)) for start, stop in row.spans if start < last)
    return TokenRow(row.reads[:last], row.predicts[:last], spans)


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """N rows, padded on the right to T positions. What is real is said by `lengths` and `mask`, never by ids."""

    ids: Tensor
    """(N, T) int64, what each position reads."""
    lengths: Tensor
    """(N,) int64."""
    targets: Tensor
    """(N, T) int64, what each position should predict."""
    mask: Tensor
    """(N, T) bool, which positions are learned."""

    def select(self, rows: Tensor) -> TokenBatch:
        """The given rows (M,), as wide as before."""
        return TokenBatch(
            ids=self.ids[rows], lengths=self.lengths[rows], targets=self.targets[rows], mask=self.mask[rows]
        )

    def trimmed(self) -> TokenBatch:
        """The same rows without the columns that are padding in all of them."""
        width = int(self.lengths.max())
        return TokenBatch(
            ids=self.ids[:, :width], lengths=self.lengths, targets=self.targets[:, :width], mask=self.mask[:, :width]
        )


def collate(rows: Sequence[TokenRow], *, device: torch.device | str = "cpu") -> TokenBatch:
    """Rows as tensors."""
    ids, lengths = pad_right([row.reads for row in rows])  # (N, T)
    targets, _ = pad_right([row.predicts for row in rows])  # (N, T)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        for start, stop in row.spans:
            mask[i, start:stop] = True
    return TokenBatch(
        ids=ids.to(device),
        lengths=torch.tensor(lengths, device=device),
        targets=targets.to(device),
        mask=mask.to(device),
    )


def tokenize_prompt_and_output(
    prompts: Sequence[str], outputs: Sequence[str], tokenizer: Tokenizer, *, append_eos: bool = True
) -> Mapping[str, Tensor]:
    """Prompts and outputs, tokenized apart and then joined: `input_ids`, `labels`, `response_mask`, each (N, T).

    T is one less than the longest joined row. `labels` are the ids one place on; `response_mask` is True where the
    label belongs to the output or is the end mark behind it. Tokenizing apart keeps a token from straddling the border.
    """
    if len(prompts) != len(outputs):
        raise ValueError(f"outputs: got {len(outputs)}, must be {len(prompts)}: one for each prompt")
    end = [] if tokenizer.eos_id is None or not append_eos else [tokenizer.eos_id]
    encoded = zip(tokenizer.encode_batch(list(prompts)), tokenizer.encode_batch(list(outputs)), strict=True)
    batch = collate([make_row(((prompt, False), (output, True)), end) for prompt, output in encoded])
    return {"input_ids": batch.ids, "labels": batch.targets, "response_mask": batch.mask}


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `values` where `mask` (same shape, bool) is True, along `dim` or over all; 0 where nothing is."""
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_normalize(values, mask, 1.0, dim) / count.clamp(min=1)


def masked_normalize(values: Tensor, mask: Tensor, constant: float, dim: int | None = None) -> Tensor:
    """Sum of `values` where `mask` (same shape, bool) is True, divided by a constant: no row's length matters."""
    if values.shape != mask.shape:
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, must be {tuple(values.shape)}: one for each value")
    kept = values.masked_fill(~mask, 0)  # not a product: what stands at padding may be NaN
    return (kept.sum() if dim is None else kept.sum(dim)) / constant
