"""The options of the tasks that are made of data files, and of the toy instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import regex

from align_scratch.config.checks import at_least, one_of, option, refuse, within

TEMPLATES = ("chat", "alpaca", "qa", "r1_zero", "question_only", "plain")


@dataclass(frozen=True, kw_only=True)
class FileConfig:
    """Task `file`."""

    path: str | None = option(None, ".jsonl, .txt (also .gz) or .parquet file; none = 200 sums with pairs, built in")
    held_out_path: str | None = option(None, "a file of its own to hold out; none = a share of the first")
    held_out: float | None = option(
        None, "share of the prompts kept out of training, chosen by their hash; none = 0.1, or held_out_path"
    )
    template: Literal["auto", "chat", "alpaca", "qa", "r1_zero", "question_only", "plain"] = option(
        "auto", "how prompts are put; auto = chat for lists of messages, plain for text"
    )
    checker: Literal["auto", "exact", "numeric", "boxed", "choice", "pattern", "r1_zero", "question_only"] = option(
        "auto", "how completions are marked; auto = as the template asks, by number for GSM8K, else exact"
    )
    pattern: str | None = option(None, "checker pattern: regular expression that a completion must match")
    undecided: Literal["wrong", "masked"] = option(
        "wrong", "checkers of maths, if the data's own answer cannot be read and the texts differ: wrong, or masked"
    )
    bad_rows: Literal["error", "skip"] = option("error", "an empty completion, two equal sides, ...: error, or skip")
    max_rows: int | None = option(None, "rows read from each file, at most; none = all")

    def __post_init__(self) -> None:
        if self.held_out is not None and not 0.0 < self.held_out <= 0.5:
            refuse("held_out", self.held_out, "above 0 and at most 0.5", "something is judged, and most is learned")
        one_of(self, "template", "auto", *TEMPLATES)
        one_of(self, "checker", "auto", "exact", "numeric", "boxed", "choice", "pattern", "r1_zero", "question_only")
        one_of(self, "bad_rows", "error", "skip")
        one_of(self, "undecided", "wrong", "masked")
        at_least(self, 2, "max_rows", why="one row is for training and one held out")
        if (self.checker == "pattern") != (self.pattern is not None):
            refuse("pattern", self.pattern, "given with checker=pattern, and only then", "nothing else reads it")
        if self.pattern is not None:
            _check_pattern(self.pattern)
        if self.held_out_path is not None and self.path is None:
            refuse("held_out_path", self.held_out_path, "none without path", "it is held out from that file")
        if self.held_out_path is not None and self.held_out is not None:
            refuse("held_out", self.held_out, "none with held_out_path", "that file is what is held out")


def _check_pattern(pattern: str) -> None:
    if not pattern:
        refuse("pattern", pattern, "a regular expression", "an empty one matches every completion")
    try:
        regex.compile(pattern)
    except regex.error as error:
        refuse("pattern", pattern, "a regular expression", str(error))


@dataclass(frozen=True, kw_only=True)
class GSM8KConfig:
    """Task `gsm8k`."""

    path: str | None = option(None, "a file, or a directory with train and test files; none = as `source` says")
    source: Literal["hub", "sample"] | None = option(
        None, "without path: openai/gsm8k from the hub (none), or a sample written for this package"
    )
    revision: str | None = option(
        None, "of the hub's data: a commit, tag or branch; none = the commit that this package was written against"
    )
    template: Literal["chat", "alpaca", "qa", "r1_zero", "question_only", "plain"] = option(
        "qa", "how questions are put, and with it where the answer must stand"
    )
    n_train: int | None = option(None, "training problems, at most; none = all")
    n_held_out: int | None = option(None, "held-out problems, at most; none = all")

    def __post_init__(self) -> None:
        if self.source is not None:
            one_of(self, "source", "hub", "sample")
        if self.path is not None and self.source is not None:
            refuse("source", self.source, "none with path", "the problems come from there")
        if self.revision is not None and (self.path is not None or self.source == "sample" or not self.revision):
            refuse("revision", self.revision, "a commit, tag or branch of the hub's data, and none without the hub",
                   "nothing else has revisions")  # fmt: skip
        one_of(self, "template", *TEMPLATES)
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")


@dataclass(frozen=True, kw_only=True)
class InstructionsConfig:
    """Task `instructions`."""

    length: int = option(4, "most letters or digits in an instruction: the difficulty")
    template: Literal["chat", "alpaca", "qa", "plain"] = option("alpaca", "how instructions are put")
    n_train: int = option(4096, "training problems, at most")
    n_held_out: int = option(512, "held-out problems, at most")
    seed: int = option(0, "decides which problems are drawn")

    def __post_init__(self) -> None:
        within(self, 2, 16, "length", why="one letter has no order, and more than 16 are no small task")
        one_of(self, "template", "chat", "alpaca", "qa", "plain")
        at_least(self, 1, "n_train", "n_held_out", why="both sides of the split need a problem")
        within(self, 0, 2**63 - 1, "seed", why="a negative seed draws what its positive twin draws")
