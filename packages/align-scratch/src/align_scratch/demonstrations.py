"""From a task's examples to rows for SFT: encoded, held against the context length, and judged where they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from align_scratch.errors import DataError, DoesNotFit
from align_scratch.labels import TokenRow, cut_row, make_row
from align_scratch.protocols import Example, Task, Tokenizer

_SHOWN = 40  # characters of a prompt that a message quotes


def encode_rows(
    tokenizer: Tokenizer, examples: Sequence[Example], *, assistant_only: bool = False, everything: bool = False
) -> list[TokenRow]:
    """One row an example: what is read, what is learned, the end mark.

    assistant_only: every reply of an example with `pieces` (runs of text, of which replies are told apart) is learned,
    not only the last; runs are encoded apart, so that no token straddles a border. everything: prompts are learned too.

    Raises DataError for an example with nothing to imitate.
    """
    pieces = [_pieces(example, number, assistant_only) for number, example in enumerate(examples, start=1)]
    encoded = iter(tokenizer.encode_batch([text for run in pieces for text, _ in run]))
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    return [make_row([(next(encoded), reply) for _, reply in run], end, everything=everything) for run in pieces]


def _pieces(example: Any, number: int, assistant_only: bool) -> list[tuple[str, bool]]:
    if not example.demonstration:
        raise DataError(
            f"task: training example {number}, {_quoted(example)}, has no demonstration to imitate; sft needs data "
            "with `completion`, `answer`, `messages` or `chosen`"
        )
    pieces = getattr(example, "pieces", ()) if assistant_only else ()
    if pieces:
        return [(piece.text, piece.reply) for piece in pieces]
    return [(example.prompt, False), (example.demonstration, True)]


def _quoted(example: Example) -> str:
    return repr(example.prompt[:_SHOWN]) + ("..." if len(example.prompt) > _SHOWN else "")


def fit_rows(
    rows: Sequence[TokenRow], examples: Sequence[Any], limit: int | None, too_long: str
) -> tuple[list[TokenRow], list[Any]]:
    """The rows that are learned, and their examples, under a `limit` of ids a row.

    too_long "skip": longer rows are left out; "cut": they lose their end, and are left out if nothing learned is left.
    Raises DoesNotFit naming the example if it is "error", and if no row is left.
    """
    if limit is None:
        return list(rows), list(examples)
    fitted, kept = [], []
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=1):
        if row.length > limit and too_long == "error":
            raise DoesNotFit(
                f"task: training example {number}, {_quoted(example)}, has {row.length} tokens, but a row has {limit} "
                "at most: raise max_length (or the model's context), or leave such examples out by too_long=skip, or "
                "cut them by too_long=cut"
            )
        if row.length > limit and too_long == "cut":
            row = cut_row(row, limit)
        if row.length <= limit and row.learned:
            fitted.append(row)
            kept.append(example)
    if rows and not fitted:
        raise DoesNotFit(
            f"task: none of {len(rows)} training examples has anything to learn within {limit} tokens a row: "
            "raise max_length, or the model's context"
        )
    return fitted, kept


class Fitting:
    """A task's examples whose prompts leave room for a completion; the others are counted, not judged."""

    def __init__(self, task: Task, tokenizer: Tokenizer, *, room: int) -> None:
        self.task = task
        self._kept: dict[str, list[Any]] = {}
        self.left_out: dict[str, int] = {}
        for split in ("train", "held_out"):
            examples = task.examples(split)
            lengths = map(len, tokenizer.encode_batch([example.prompt for example in examples]))
            kept = [example for example, length in zip(examples, lengths, strict=True) if length <= room]
            self._kept[split], self.left_out[split] = kept, len(examples) - len(kept)
            if not kept:
                raise DoesNotFit(
                    f"task: none of {len(examples)} {split} prompts leaves room for a completion to judge: only {room} "
                    "tokens remain for a prompt; set max_new_tokens lower, or raise the model's context"
                )

    def examples(self, split: str, /) -> Sequence[Any]:
        return self._kept[split]

    def check(self, example: Any, completion: str, /) -> Any:
        return self.task.check(example, completion)
