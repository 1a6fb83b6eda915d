"""The warm start's own feedback rows: attempts that are wrong anywhere, and conversations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from align_scratch.config.data import GSM8KConfig
from align_scratch.config.tasks import SortConfig
from align_scratch.demonstrations import encode_rows
from align_scratch.errors import CheckerFailed
from align_scratch.tasks.gsm8k import GSM8K
from align_scratch.tasks.problems import Score
from align_scratch.tasks.rows import DataExample
from align_scratch.tasks.sorting import Sort
from align_scratch.templates import Piece
from papers_scratch.config.sdpo import HintedSFTConfig
from papers_scratch.sdpo.hints import Hinted, with_one_word_of


def test_feedback_can_be_on_the_same_problems_attempt_wrong_anywhere() -> None:
    task = Sort(SortConfig(length=8, mixed=0.5, n_train=800, n_held_out=20, feedback="so_far_symbol"))
    config = HintedSFTConfig(hints=0.0, feedback=1.0, attempt="changed")
    shown = Hinted(task, config, seed=3).examples("train")
    places = []
    for plain, found in zip(task.examples("train"), shown, strict=True):
        assert found.demonstration == plain.demonstration
        if found.prompt == plain.prompt:
            continue  # the other problem had no other digit
        said = re.fullmatch(
            re.escape(plain.prompt) + r"position (\d): got '(\d)', expected '(\d)'(?:, after ([\d ]+))?\n(.+)",
            found.prompt,
        )
        assert said is not None
        assert said[5] == plain.prompt
        wanted, place = plain.demonstration.split(), int(said[1])
        assert said[3] == wanted[place - 1] != said[2]  # of what is imitated, in whichever order that sorts
        assert (said[4] or "").split() == wanted[: place - 1]
        places.append(place)
    assert len(places) > 750
    assert all(60 < places.count(place) < 140 for place in range(1, 9))
    assert [e.prompt for e in shown] == [e.prompt for e in Hinted(task, config, seed=3).examples("train")]


@pytest.mark.parametrize("attempt", ["other", "changed"])
def test_feedback_of_tasks_whose_examples_hold_more_than_an_answer(attempt: Any) -> None:
    task = GSM8K(GSM8KConfig(source="sample"))
    shown = Hinted(task, HintedSFTConfig(hints=0.0, feedback=1.0, attempt=attempt), seed=0).examples("train")
    told = [(p, s) for p, s in zip(task.examples("train"), shown, strict=True) if s.prompt != p.prompt]
    assert told
    for plain, found in told:
        assert found.demonstration == plain.demonstration != plain.answer
        assert found.prompt.endswith(plain.prompt)


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        (" a b", "c", {" c b", " a c"}),
        ("x\n\ty", "x", {"x\n\tx", "x\n\ty"}),
        ("a", "a a", {"a"}),
        ("", "a", {""}),
        ("a", "", {"a"}),
    ],
)
def test_one_word_is_replaced_and_nothing_else(text: str, other: str, expected: set[str]) -> None:
    assert {with_one_word_of(text, other, f"{key}") for key in range(40)} == expected


TALK = DataExample(
    prompt="a1 b2 c3 ", answer="d4", demonstration="d4", gold="d4",
    pieces=(Piece("a1 ", False), Piece("b2 ", True), Piece("c3 ", False), Piece("d4", True)),
)  # fmt: skip


class Bytes:
    """A tokenizer: one id a byte, and an end mark."""

    eos_id, vocab_size = 256, 257

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return [bytes(i for i in row if i < 256).decode() for row in rows]


class Talk:
    def __init__(self, demonstration: str) -> None:
        self.demonstration = demonstration

    def examples(self, split: str) -> list[DataExample]:
        own = (*TALK.pieces[:-1], Piece(self.demonstration, True))
        return [DataExample(TALK.prompt, "d4", self.demonstration, "d4", own)] * 2

    def check(self, example: Any, completion: str) -> Score:
        return Score(0.0, False, {}, "no")


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({"hints": 1.0}, "a1 b2 c3 d4\na1 "),
        ({"hints": 0.0, "feedback": 1.0}, "a1 b2 c3 no\na1 "),
        ({"hints": 1.0, "style": "sentences"}, "a1 b2 c3 \n\nA correct solution:"),
        ({"hints": 0.0, "imitate": "answer"}, "a1 b2 c3 "),
    ],
)
def test_all_replies_of_a_conversation_are_learned_behind_a_hint_too(options: dict[str, Any], begins: str) -> None:
    task: Any = Talk("e5" if "imitate" in options else "d4")
    for found in Hinted(task, HintedSFTConfig(**options), 0).examples("train"):
        assert found.prompt.startswith(begins)
        assert [piece.text for piece in found.pieces if piece.reply] == ["b2 ", "d4"]
        assert "".join(piece.text for piece in found.pieces) == found.prompt + found.demonstration
        last, every = (encode_rows(Bytes(), [found], assistant_only=one)[0].learned for one in (False, True))
        assert every == last + len("b2 ") + 1  # with its end


def test_feedback_that_is_no_text_is_refused() -> None:
    class Counts(Sort):
        def check(self, example: Any, completion: str) -> Score:
            return Score(reward=0.0, correct=False, explanation=3)  # type: ignore[arg-type]

    with pytest.raises(CheckerFailed, match=r"task: gave the explanation 3, .* give a str"):
        Hinted(Counts(SortConfig(length=3, n_train=20, n_held_out=4)), HintedSFTConfig(hints=0.0, feedback=1.0), seed=0)
