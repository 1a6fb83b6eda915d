"""Task `file`: what it offers, what it has not got, how it is split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align_scratch.config.data import FileConfig, GSM8KConfig, InstructionsConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.demonstrations import encode_rows
from align_scratch.errors import DataError
from align_scratch.records.fields import Row
from align_scratch.sft import SFT
from align_scratch.tasks.file import File, built_in, identity, split_by_hash
from align_scratch.tasks.problems import hash_unit
from align_scratch.tasks.rows import MissingField
from align_scratch.templates import TEMPLATES


def write(path: Path, records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def both(task: Any, what: str) -> Iterator[Any]:
    for split in ("train", "held_out"):
        yield from getattr(task, what)(split)


def test_demonstrations(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"prompt": f"{i} =", "completion": f" {i * i}"} for i in range(50)])
    task = File(FileConfig(path=path))
    examples = list(both(task, "examples"))
    assert len(examples) == 50
    assert all(e.demonstration == e.answer == e.gold for e in examples)
    first = task.examples("train")[0]
    assert task.check(first, first.answer).correct
    assert not task.check(first, "x").correct
    assert next(iter(task.texts())) == first.prompt + first.demonstration
    assert task.lesson.startswith(f"Read {len(task.examples('train'))} rows of {path} and held")
    with pytest.raises(ValueError, match="split: got 'test', must be one of train, held_out"):
        task.examples("test")


def test_demonstrations_with_answers_are_marked_by_the_answer(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}?", "completion": f"so it is {i}.5", "answer": f"{i}.5"} for i in range(9)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), checker="numeric"))
    example = task.examples("train")[0]
    assert (example.demonstration, example.answer) == (f"so it is {example.gold}", example.gold)
    assert task.check(example, example.demonstration).correct
    assert task.check(example, f"$ {example.gold}0").correct
    assert not task.check(example, example.gold + " or 7").correct


def test_pairs_labels_and_margins(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad", "margin": i} for i in range(20)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    pairs = list(both(task, "pairs"))
    assert len(pairs) == 20
    assert {pair.margin for pair in pairs} == set(map(float, range(20)))
    assert (pairs[0].chosen, pairs[0].rejected) == ("good", "bad")
    labelled = task.labelled("train")
    assert [(x.completion, x.label) for x in labelled[:2]] == [("good", True), ("bad", False)]
    assert task.examples("train")[0].demonstration == "good"
    prompts = [{pair.prompt for pair in task.pairs(split)} for split in ("train", "held_out")]
    assert not prompts[0] & prompts[1]


def test_labelled_completions(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "completion": "x", "label": i % 2 == 0} for i in range(20)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    assert sum(x.label for x in both(task, "labelled")) == 10
    assert len(list(both(task, "examples"))) == 10  # what was not liked is not shown
    with pytest.raises(MissingField, match=r"has no `chosen` and `rejected`, so there are no pairs: add both, or let"):
        task.pairs("train")
    disliked = [{**record, "label": False} for record in records]
    with pytest.raises(MissingField, match="every `label` is false, so there is nothing to show"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", disliked))).examples("train")


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"name {i % 30}" for i in range(60)))
    task = File(FileConfig(path=str(path), held_out=0.3))
    sides = [set(task.texts(split)) for split in ("train", "held_out")]
    assert len(sides[0] | sides[1]) == 30
    assert not sides[0] & sides[1]
    with pytest.raises(MissingField, match=r"has only `text`, and problems need `prompt` with .*trainer pretrain"):
        task.examples("train")
    assert not hasattr(task, "pairs")  # as trainers ask
    assert not hasattr(task, "labelled")


def test_prompts_alone_cannot_be_marked_or_imitated(tmp_path: Path, parts: Any) -> None:
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", [{"prompt": f"ask {i}"} for i in range(9)])))
    with pytest.raises(MissingField, match=r"has no `answer`, .* so nothing can be marked: add `answer`") as e:
        task.check(task.examples("train")[0], "x")
    assert e.value.exit_code == 3
    assert not hasattr(task, "check")  # as trainers ask
    with pytest.raises(DataError, match="has no demonstration to imitate; sft needs data with `completion`"):
        SFT(SFTConfig(), **parts(task))


def test_conversations(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    records = [{"messages": [{"role": "user", "content": f"{i}"}, talk[1], *talk]} for i in range(9)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records)))
    assert task.template == "chat"
    example = task.examples("train")[0]
    assert [piece.text for piece in example.pieces if piece.reply] == ["b", "b"]
    assert "".join(piece.text for piece in example.pieces[:-1]) == example.prompt
    assert example.prompt.endswith("<|im_start|>assistant\n")
    forged = [*records, {"messages": [{"role": "user", "content": "<|im_end|>"}, *talk[1:]]}]
    with pytest.raises(DataError, match=r"line 10: a message holds '<\|im_end\|>', by which the template 'chat' tells"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", forged)))


def test_assistant_only_learns_every_reply_and_otherwise_the_last(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "bcd"}
    records = [
        {"messages": [{"role": "user", "content": f"{i}"}, reply, {"role": "user", "content": "a"}, reply]}
        for i in range(9)
    ]
    examples = File(FileConfig(path=write(tmp_path / "d.jsonl", records))).examples("train")
    tokenizer = SimpleNamespace(eos_id=0, encode_batch=lambda texts: [[1 + b for b in t.encode()] for t in texts])
    (every, *_), (last, *_) = (encode_rows(tokenizer, examples, assistant_only=x) for x in (True, False))
    assert every.reads == last.reads
    assert every.learned == 2 * last.learned == 8


def test_the_split_is_a_matter_of_the_prompt_alone(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i % 40}", "completion": f"c{i}"} for i in range(120)]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), held_out=0.25))
    sides = [{e.prompt for e in task.examples(split)} for split in ("train", "held_out")]
    assert not sides[0] & sides[1]
    assert len(list(both(task, "examples"))) == 120  # several completions of a prompt are kept
    grown = records + [{"prompt": f"new {i}", "completion": "x"} for i in range(100)]
    later = File(FileConfig(path=write(tmp_path / "e.jsonl", grown), held_out=0.25))
    assert sides[1] <= {e.prompt for e in later.examples("held_out")}
    assert not sides[1] & {e.prompt for e in later.examples("train")}


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5])
def test_both_sides_have_something(n: int, share: float) -> None:
    rows = [Row(f"line {i}", text=f"text {i}") for i in range(n)]
    sides = split_by_hash(rows, share, "file")
    assert sides["train"]
    assert sides["held_out"]
    assert len(sides["train"]) + len(sides["held_out"]) == n
    if share == 0.5 and n == 7:
        expected = [row for row in rows if hash_unit(identity(row), "scratch split") < 0.5]
        assert sides["held_out"] == expected


def test_a_file_of_its_own_to_hold_out(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"prompt": f"p{i}", "answer": "1"} for i in range(10)])
    test = write(tmp_path / "b.jsonl", [{"prompt": f"p{i}", "answer": "1"} for i in range(8, 12)])
    task = File(FileConfig(path=train, held_out_path=test))
    assert [e.prompt for e in task.examples("train")] == [f"p{i}" for i in range(8)]
    assert [e.prompt for e in task.examples("held_out")] == ["p8", "p9", "p10", "p11"]
    assert "Left 2 out of training, whose prompts are held out." in task.lesson
    with pytest.raises(DataError, match=r"every prompt is in .*a\.jsonl, too: none is left"):
        File(FileConfig(path=train, held_out_path=train))


def test_faulty_rows_stop_or_are_counted(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i}", "chosen": "a", "rejected": "a" if i == 3 else "b"} for i in range(10)]
    path = write(tmp_path / "d.jsonl", records)
    with pytest.raises(DataError, match="line 4: `chosen` and `rejected` are the same"):
        File(FileConfig(path=path))
    task = File(FileConfig(path=path, bad_rows="skip"))
    assert task.skipped == {"chosen equals rejected": 1}
    assert "Skipped faulty ones: 1 chosen equals rejected." in task.lesson
    with pytest.raises(DataError, match="every record was skipped: 1 chosen equals rejected"):
        File(FileConfig(path=write(tmp_path / "e.jsonl", records[3:4]), bad_rows="skip"))
    with pytest.raises(DataError, match="has one prompt or text only, and a split needs two"):
        File(FileConfig(path=write(tmp_path / "f.jsonl", records[:1])))


def test_templates_and_graders(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}+1?", "answer": str(i + 1)} for i in range(12)]
    path = write(tmp_path / "d.jsonl", records)
    for name in TEMPLATES:
        task = File(FileConfig(path=path, template=name))  # type: ignore[arg-type]
        for example in both(task, "examples"):
            assert task.check(example, example.answer).correct, name
            assert task.check(example, example.demonstration).correct, name
            assert not task.check(example, "no").correct, name
    choices = write(tmp_path / "e.jsonl", [{"prompt": f"{i}?", "answer": "ABCD"[i % 4]} for i in range(12)])
    task = File(FileConfig(path=choices, checker="choice"))
    example = task.examples("train")[0]
    assert task.check(example, f"The answer is ({example.gold})").correct
    task = File(FileConfig(path=path, checker="pattern", pattern=r"^\d+$"))
    assert task.check(task.examples("train")[0], "77").correct
    with pytest.raises(ValueError, match=r"pattern: got '\(', must be a regular expression"):
        File(FileConfig(path=path, checker="pattern", pattern="("))


def test_a_solution_that_has_a_box_already_is_shown_with_one(tmp_path: Path) -> None:
    """As in MATH: the grader wants exactly one box, so a demonstration with two would teach what earns nothing."""
    records = [
        {"prompt": f"{i}+1?", "completion": f"It is $\\boxed{{{i + 1}}}$.", "answer": f"{i + 1}"} for i in range(9)
    ]
    task = File(FileConfig(path=write(tmp_path / "d.jsonl", records), template="question_only"))
    for example in both(task, "examples"):
        assert task.check(example, example.demonstration).correct
        assert example.demonstration == f"It is ${example.gold}$.\nThe answer is \\boxed{{{example.gold}}}."


def test_the_built_in_sums() -> None:
    task = File(FileConfig())
    assert len(built_in()) == 200 == len({identity(row) for row in built_in()})
    example = task.examples("train")[0]
    assert eval_sum(example.prompt) == int(example.answer)
    assert all(pair.chosen != pair.rejected for pair in both(task, "pairs"))


def eval_sum(prompt: str) -> int:
    left, right = prompt.removeprefix("What is ").removesuffix("? ").split(" + ")
    return int(left) + int(right)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (FileConfig, {"held_out": 0.0}, "held_out: got 0.0, must be above 0 and at most 0.5"),
        (FileConfig, {"template": "llama"}, "template: got 'llama', must be one of auto, chat"),
        (FileConfig, {"checker": "llm"}, "checker: got 'llm', must be one of auto, exact"),
        (FileConfig, {"checker": "pattern"}, "pattern: got None, must be given with checker=pattern"),
        (FileConfig, {"pattern": "x"}, "pattern: got 'x', must be given with checker=pattern, and only then"),
        (
            FileConfig,
            {"checker": "pattern", "pattern": "(a"},
            r"pattern: got '\(a', must be a regular expression: missing",
        ),
        (FileConfig, {"checker": "pattern", "pattern": ""}, "pattern: got '', must be a regular expression: an empty"),
        (FileConfig, {"held_out_path": "x"}, "held_out_path: got 'x', must be none without path"),
        (FileConfig, {"max_rows": 1}, "max_rows: got 1, must be at least 2"),
        (FileConfig, {"bad_rows": "fix"}, "bad_rows: got 'fix', must be one of error, skip"),
        (GSM8KConfig, {"source": "web"}, "source: got 'web', must be one of hub, sample"),
        (GSM8KConfig, {"n_train": 0}, "n_train: got 0, must be at least 1"),
        (InstructionsConfig, {"length": 1}, "length: got 1, must be between 2 and 16"),
        (
            InstructionsConfig,
            {"template": "r1_zero"},
            "template: got 'r1_zero', must be one of chat, alpaca, qa, plain",
        ),
    ],
)
def test_options_that_make_no_sense(cls: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**wrong)
