"""Task `file`: any data file in the ecosystem's fields, split so that training and held-out sides share no prompt.

What the file has decides what the task offers: texts, problems with a checker, preference pairs, labelled completions
(`records/fields.py` lists the fields). Which side a prompt is on is decided by its hash alone, so that a file may grow
without a held-out prompt ever having been trained on; rows of one prompt stand on one side, and so do conversations
that begin with one question, of which data such as HH-RLHF has many: each a piece of the next.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from align_scratch.config.data import FileConfig
from align_scratch.errors import DataError
from align_scratch.records.fields import Message, Row, read_rows, transcript
from align_scratch.rewards.graders import grader
from align_scratch.tasks.problems import hash_unit
from align_scratch.tasks.rows import RowTask

BUILT_IN = "built-in sums"
HELD_OUT = 0.1
"""Share of the prompts that is held out unless told otherwise."""


class File(RowTask):
    """`skipped` counts faulty rows by what is wrong with them, where `bad_rows` is skip."""

    def __init__(self, config: FileConfig) -> None:
        """Raises DataError naming file and line, NotAvailable for .parquet without pyarrow."""
        self.config = config
        self.skipped: Counter[str] = Counter()
        if config.path is None:
            source, rows = BUILT_IN, built_in()[: config.max_rows]
        else:
            source, rows = config.path, self._read(config.path)
        self.shared = 0
        if config.held_out_path is not None:
            held_out = self._read(config.held_out_path)
            _refuse_less(held_out[0], rows[0], config.held_out_path, source)
            theirs = {identity(row) for row in held_out}
            sides = {"train": [row for row in rows if identity(row) not in theirs], "held_out": held_out}
            if not sides["train"]:
                raise DataError(f"{source}: every prompt is in {config.held_out_path}, too: none is left to train on")
            self.shared = len(rows) - len(sides["train"])
        else:
            sides = split_by_hash(rows, HELD_OUT if config.held_out is None else config.held_out, source)
        checker = grader(_checker(config, rows[0]), pattern=config.pattern, undecided=config.undecided)
        super().__init__(sides, template=config.template, checker=checker, source=source)
        self.lesson = self._lesson()

    def _read(self, path: str) -> list[Row]:
        skipped = self.skipped if self.config.bad_rows == "skip" else None
        rows = list(islice(read_rows(Path(path), skipped=skipped), self.config.max_rows))
        if not rows:
            raise DataError(f"{path}: every record was skipped: {_counted(self.skipped)}")
        return rows

    def _lesson(self) -> str:
        told = f"Read {len(self.rows['train'])} rows of {self.source} and held {len(self.rows['held_out'])} out."
        if self.skipped:
            told += f" Skipped faulty ones: {_counted(self.skipped)}."
        if self.shared:
            told += f" Left {self.shared} out of training, whose prompts are held out."
        return told


def _checker(config: FileConfig, row: Row) -> str:
    """The name of the grader: what the template asks for, a number behind `####` (GSM8K), or the answer itself."""
    if config.checker != "auto":
        return config.checker
    if config.template in ("r1_zero", "question_only"):
        return config.template
    return "numeric" if row.answer is not None and "####" in (row.completion or "") else "exact"


def _refuse_less(held_out: Row, row: Row, held_out_path: str, path: str) -> None:
    """Raises DataError if the first row of the file to hold out does not offer what training rows do."""
    theirs, ours = _offer(held_out), _offer(row)
    if theirs != ours and ours != "only prompts":
        raise DataError(f"{held_out_path}: has {theirs}, but {path} has {ours}: give both files the same fields")


def _offer(row: Row) -> str:
    if row.text is not None:
        return "texts without prompts"
    answered = (row.answer, row.completion, row.chosen) != (None, None, None)
    return "prompts with answers" if answered else "only prompts"


def identity(row: Row) -> str:
    """What two rows have in common that must not stand on different sides: the text, or the prompt up to its first
    question, but for the white space around it. A prompt that is a transcript like HH-RLHF's counts as its messages."""
    if row.text is not None:
        return row.text.strip()
    messages = row.context
    if len(messages) == 1:
        messages = transcript(messages[0].content) or messages
    first = next((at for at, message in enumerate(messages) if message.role == "user"), len(messages))
    return "\0".join(f"{message.role}\0{message.content.strip()}" for message in messages[: first + 1])


def split_by_hash(rows: Sequence[Row], share: float, source: str) -> dict[str, list[Row]]:
    """Rows by split: those whose identity hashes below `share` are held out, and at least one identity on each side.

    Raises DataError if there are not two different ones.
    """
    places = {key: hash_unit(key, "scratch split") for key in map(identity, rows)}
    if len(places) < 2:
        raise DataError(
            f"{source}: has one prompt or text only, and a split needs two: one to train on, one held out "
            "(conversations count by their first question)"
        )
    ranked = sorted(places.values())
    # Below it lies at least the first of them, and never the last.
    limit = min(max(share, math.nextafter(ranked[0], 1.0)), ranked[-1])
    sides: dict[str, list[Row]] = {"train": [], "held_out": []}
    for row in rows:
        sides["held_out" if places[identity(row)] < limit else "train"].append(row)
    return sides


def built_in() -> list[Row]:
    """Sums of numbers up to 20, each with its answer and a wrong one: what stands in for a file when none is given."""
    rows = []
    for number in range(200):
        left, right = 1 + number % 20, 1 + (7 * number) // 20 % 20
        answer, wrong = str(left + right), str(left + right + (1 if number % 2 else -1))
        question = Message("user", f"What is {left} + {right}? ")
        where = f"{BUILT_IN}, line {number + 1}"
        rows.append(Row(where, context=(question,), answer=answer, chosen=answer, rejected=wrong))
    return rows


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"
