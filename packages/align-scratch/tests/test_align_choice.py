"""Multiple choice: what files may hold, what is read out of a completion, and what a host can compare."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from align_scratch.config.choice import ChoiceConfig
from align_scratch.config.data import GSM8KConfig
from align_scratch.errors import DataError
from align_scratch.tasks.choice import SUBJECTS, Choice, Question
from align_scratch.tasks.gsm8k import GSM8K

PARIS: dict[str, Any] = {"question": "Capital of France?", "choices": ["Bonn", "Paris", "Rome"]}


def written(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {**PARIS, "answer": 1, "subject": "places"},  # MMLU
        {**PARIS, "answer": "B"},
        {**PARIS, "answer": " Paris "},
        {"question": PARIS["question"], "answerKey": "2",  # ARC
         "choices": {"text": PARIS["choices"], "label": ["1", "2", "3"]}},
        {"ctx": PARIS["question"], "endings": PARIS["choices"], "label": "1"},  # HellaSwag
        {"ctx": PARIS["question"], "endings": PARIS["choices"], "label": 1},
    ],
)  # fmt: skip
def test_the_forms_of_files(tmp_path: Path, row: dict[str, Any]) -> None:
    [question] = Choice(ChoiceConfig(path=written(tmp_path / "q.jsonl", row))).examples("held_out")
    assert question.prompt == "Question: Capital of France?\nA. Bonn\nB. Paris\nC. Rome\nAnswer:"
    assert (question.answer, question.demonstration, question.right) == (" B", " B", 1)
    assert question.subject == row.get("subject")


def test_style_text_shows_no_choices(tmp_path: Path) -> None:
    task = Choice(ChoiceConfig(path=written(tmp_path / "q.jsonl", {**PARIS, "answer": 1}), style="text"))
    [question] = task.examples("held_out")
    assert (question.prompt, question.answer) == ("Question: Capital of France?\nAnswer:", " Paris")
    assert task.choices(question) == [" Bonn", " Paris", " Rome"]
    assert [task.check(question, text).correct for text in ("Paris", " Paris\n", "paris", "Paris.", "B", "")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_letters_are_read_as_a_person_would(tmp_path: Path) -> None:
    task = Choice(ChoiceConfig(path=written(tmp_path / "q.jsonl", {**PARIS, "answer": 1})))
    [question] = task.examples("held_out")
    assert task.choices(question) == [" A", " B", " C"]
    for text, letter in (
        (" B", "B"), ("B.", "B"), ("(C)", "C"), ("The answer is B", "B"), ("It is A, no: the answer is (B).", "B"),
        ("There is a virus", None), ("D", None), ("", None), ("A B C", None), ("B B", None), ("ABC", None),
        ("Not A. So B", "B"), ("\0" * 50, None),
    ):  # fmt: skip
        score = task.check(question, text)
        assert task.final_answer(text) == letter, text
        assert (score.correct, score.reward) == (letter == "B", float(letter == "B"))
        assert score.parts == {"choice": score.reward, "parsed": float(letter is not None)}
        assert bool(score.explanation) != score.correct


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PARIS}, "line 2: has none of the fields `answer`, `answerKey`, `label`"),
        ({"question": "?", "answer": 1}, "line 2: has none of the fields `choices`, `endings`"),
        ({**PARIS, "answer": 3}, "line 2: the answer is 3, must be a choice's number from 0"),
        ({**PARIS, "answer": True}, "the answer is True"),
        ({**PARIS, "answer": "D"}, "the answer is 'D'"),
        ({**PARIS, "choices": "ABC", "answer": 0}, "the choices are 'ABC', must be a list of texts"),
        ({**PARIS, "choices": ["x"], "answer": 0}, "has 1 choices, must have 2 to 26"),
        ({**PARIS, "choices": ["x"] * 27, "answer": 0}, "has 27 choices"),
        ({**PARIS, "choices": ["x", "x "], "answer": 0}, "two of its choices are the same"),
        ({**PARIS, "choices": ["x", ""], "answer": 0}, "must be a list of texts"),
        ({**PARIS, "question": 3, "answer": 0}, "the question is 3, must be text"),
        ("{broken", "line 2, column 2: not JSON"),
    ],
)
def test_a_bad_question_is_named_with_its_line(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path / "q.jsonl", {**PARIS, "answer": 0}, row)
    with pytest.raises(DataError) as caught:
        Choice(ChoiceConfig(path=path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    for path in (written(tmp_path / "empty.jsonl"), str(tmp_path), str(tmp_path / "missing.jsonl")):
        with pytest.raises(DataError, match=r"empty|directory|name must end|cannot be read|holds no question"):
            Choice(ChoiceConfig(path=path))


def test_a_file_is_for_judging_unless_some_is_left_to_train_on(tmp_path: Path) -> None:
    rows = [{**PARIS, "question": f"Number {n}?", "answer": n % 3} for n in range(200)]
    path = written(tmp_path / "q.jsonl", *rows, rows[0])  # a question that is there twice counts once
    task = Choice(ChoiceConfig(path=path))
    assert (len(task.examples("train")), len(task.examples("held_out"))) == (0, 200)
    task = Choice(ChoiceConfig(path=path, held_out=0.25))
    train, held_out = ({q.prompt for q in task.examples(split)} for split in ("train", "held_out"))
    assert not train & held_out
    assert len(train | held_out) == 200
    assert 30 <= len(held_out) <= 70
    other_order = [{**row, "choices": row["choices"][::-1]} for row in rows]
    turned = Choice(ChoiceConfig(path=written(tmp_path / "turned.jsonl", *rows, *other_order), held_out=0.25))
    sides = ({q.prompt.split("\n")[0] for q in turned.examples(split)} for split in ("train", "held_out"))
    assert not set.intersection(*sides)  # with its choices in another order it is the same question
    assert len(Choice(ChoiceConfig(path=path, max_rows=7)).examples("held_out")) == 7
    with gzip.open(tmp_path / "q.jsonl.gz", "wt") as stream:
        stream.write(Path(path).read_text())
    assert len(Choice(ChoiceConfig(path=str(tmp_path / "q.jsonl.gz"))).examples("held_out")) == 200


@pytest.mark.parametrize("style", ["letter", "text"])
def test_drawn_questions_are_right(style: str) -> None:
    task = Choice(ChoiceConfig(n_train=300, n_held_out=60, style=style))
    assert {q.subject for q in task.examples("train")} == set(SUBJECTS)
    for question in (*task.examples("train"), *task.examples("held_out")):
        assert isinstance(question, Question)
        expected = {"largest number": max, "smallest number": min, "last letter": max}[str(question.subject)]
        assert question.options[question.right] == expected(question.options)
        assert len(set(question.options)) == 4
        marks = [task.check(question, choice).correct for choice in task.choices(question)]
        assert marks == [place == question.right for place in range(4)]


def test_final_answers_of_gsm8k_are_numbers() -> None:
    task = GSM8K(GSM8KConfig(source="sample"))
    for text, answer in (
        ("so 5 and 7\n#### 1,600", "1600"), ("#### 1600.0", "1600"), ("it is $18.00 then", "18"), ("no idea", None),
        ("<think>3</think> <answer>half is 0.5</answer>", "1/2"), (r"2 or \boxed{-4} apples", "-4"), ("", None),
    ):  # fmt: skip
        assert task.final_answer(text) == answer
