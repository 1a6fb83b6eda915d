"""What tasks made of data share: rows become examples, pairs, labelled completions or texts, as far as they go.

What the data has not got is missing and says so: `task.pairs` of data without pairs raises an error that names the
fields to add, and `hasattr(task, "pairs")` is False. The same goes for `check` and `labelled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from align_scratch.errors import DataError
from align_scratch.records.fields import Row
from align_scratch.rewards.composition import Composition
from align_scratch.tasks.problems import SPLITS, Pair, Score
from align_scratch.templates import Piece, Template, bare_answer, template, with_answer

T = TypeVar("T")


class MissingField(DataError, AttributeError):
    """The data has no field for what was asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A problem as rewards get it: `answer` is what the data set's field says, in no template's form."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class DataExample:
    """A problem from data. `answer` is a completion that the checker accepts, `gold` what it looks for in one."""

    prompt: str
    answer: str
    demonstration: str
    gold: str
    pieces: tuple[Piece, ...] = ()
    """Prompt and demonstration as runs of text, replies told apart, if the prompt has replies of its own."""

    @property
    def asked(self) -> Asked:
        return Asked(self.prompt, self.gold)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A completion and whether it was liked."""

    prompt: str
    completion: str
    label: bool


class RowTask:
    """A task made of rows. Subclasses read them, and say what a bare answer looks like if templates do not."""

    lesson: str = ""

    def __init__(self, rows: Mapping[str, Sequence[Row]], *, template: str, checker: Composition, source: str) -> None:
        """`rows` by split; template "auto" is chat for lists of messages, else plain.

        Raises DataError naming file and line where a message holds a marker of the template.
        """
        self.rows, self.checker, self.source = rows, checker, source
        first = next((row for split in SPLITS for row in rows[split]), None)
        if template == "auto":
            template = "chat" if first is not None and first.conversational else "plain"
        self.template = template
        self._has = first or Row(source)
        self._examples = {split: tuple(self._made(rows[split], self._example)) for split in SPLITS}
        self._has_gold = any(example.gold for split in SPLITS for example in self._examples[split])
        self._pairs = {split: tuple(self._made(rows[split], self._pair)) for split in SPLITS}
        self._labelled = {split: tuple(self._made(rows[split], self._label)) for split in SPLITS}

    def texts(self, split: str = "train", /) -> Iterator[str]:
        """Texts, or prompts with their completions: what a tokenizer or a language model learns from."""
        _check(split)
        for row in self.rows[split]:
            if row.text is not None:
                yield row.text
        for example in self._examples[split]:
            yield example.prompt + example.demonstration

    def examples(self, split: str, /) -> Sequence[DataExample]:
        """Problems of "train" or "held_out". Raises MissingField if the data has no prompts."""
        _check(split)
        if self._has.text is not None:
            raise MissingField(
                f"{self.source}: has only `text`, and problems need `prompt` with `completion`, `answer` or `chosen`, "
                "or `messages`: add them, or learn the texts with trainer pretrain"
            )
        if not any(self._examples.values()):
            raise MissingField(f"{self.source}: every `label` is false, so there is nothing to show or to ask for")
        return self._examples[split]

    @property
    def check(self) -> Callable[[DataExample, str], Score]:
        """`check(example, completion)`: the marks of untrusted model text. Raises MissingField if the data has no
        answers."""
        if not self._has_gold:
            raise self._unmarkable()
        return self._marks

    def _marks(self, example: DataExample, completion: str, /) -> Score:
        if not example.gold:
            raise self._unmarkable()
        return self.checker.score(example.asked, completion)

    def _unmarkable(self) -> MissingField:
        return MissingField(
            f"{self.source}: has no `answer`, `completion` or `chosen`, so nothing can be marked: add `answer` to the "
            "data, or let a reward model say what is good (reward_model=RUN, a run of trainer reward)"
        )

    @property
    def pairs(self) -> Callable[[str], Sequence[Pair]]:
        """`pairs(split)`: preference pairs. Raises MissingField if the data has none."""
        if self._has.chosen is None:
            raise MissingField(
                f"{self.source}: has no `chosen` and `rejected`, so there are no pairs: add both, or let the trainer "
                "build pairs from samples (dpo: pairs=sampled)"
            )
        return lambda split: self._pairs[_check(split)]

    @property
    def labelled(self) -> Callable[[str], Sequence[Labelled]]:
        """`labelled(split)`: completions with `label`; of pairs, chosen is liked and rejected is not."""
        if self._has.label is None and self._has.chosen is None:
            raise MissingField(f"{self.source}: has neither `completion` with `label` nor `chosen` and `rejected`")
        return lambda split: self._labelled[_check(split)]

    # --- from rows

    def _made(self, rows: Sequence[Row], make: Callable[[Row, Template], Iterator[T]]) -> Iterator[T]:
        chosen = template(self.template)
        for row in rows:
            try:
                yield from make(row, chosen)
            except ValueError as error:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{row.where}: {error}") from error

    def _example(self, row: Row, by: Template) -> Iterator[DataExample]:
        if not row.context or row.label is False:
            return
        shown = row.completion if row.completion is not None else row.chosen
        gold = row.answer if row.answer is not None else shown or ""
        if row.answer is not None:
            answer = self.bare(row.answer)
            shown = answer if shown is None else self.worked(shown, row.answer)
        else:
            answer = gold
        pieces = by.pieces(row.context, shown or "")
        prompt = "".join(piece.text for piece in pieces[:-1])
        yield DataExample(prompt, answer, shown or "", gold, pieces if len(pieces) > 2 else ())

    def bare(self, answer: str) -> str:
        """The shortest completion that the checker accepts."""
        return bare_answer(self.template, answer)

    def worked(self, solution: str, answer: str) -> str:
        """The demonstration that a worked solution becomes."""
        return with_answer(self.template, solution, answer)

    def _pair(self, row: Row, by: Template) -> Iterator[Pair]:
        if row.chosen is not None and row.rejected is not None:
            by.pieces(row.context, row.rejected)  # refuses markers in it
            yield Pair(by.prompt(row.context), row.chosen, row.rejected, row.margin)

    def _label(self, row: Row, by: Template) -> Iterator[Labelled]:
        prompt = by.prompt(row.context) if row.context else ""
        if row.label is not None and row.completion is not None:
            yield Labelled(prompt, row.completion, row.label)
        if row.chosen is not None and row.rejected is not None:
            yield Labelled(prompt, row.chosen, True)
            yield Labelled(prompt, row.rejected, False)


def _check(split: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, must be one of {', '.join(SPLITS)}")
    return split
