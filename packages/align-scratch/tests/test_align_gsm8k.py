"""Tasks `gsm8k` and `instructions`: what they read, ask and mark."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from align_scratch.config.data import FileConfig, GSM8KConfig, InstructionsConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.errors import CheckerFailed, DataError, NotAvailable
from align_scratch.records.fields import Message, Row
from align_scratch.rewards.composition import Composition
from align_scratch.sft import SFT
from align_scratch.tasks.file import File, identity
from align_scratch.tasks.graded import Graded
from align_scratch.tasks.gsm8k import GSM8K, checker, sample
from align_scratch.tasks.instructions import KINDS, Instructions
from align_scratch.templates import TEMPLATES

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def write(path: Path, records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def both(task: Any, what: str) -> Iterator[Any]:
    for split in ("train", "held_out"):
        yield from getattr(task, what)(split)


# --- gsm8k -----------------------------------------------------------------------------------------------------------


def test_strict_and_lenient_are_told_apart() -> None:
    score = checker("qa").score
    problem = SimpleNamespace(prompt="", answer="1,600")
    for completion, expected in {
        "It is 1,500+100.\n#### 1600": (1, 1, 1),
        "It is 1600.": (0, 0, 1),
        "#### 1600.00": (1, 1, 1),
        "#### 1600 #### 1600": (0, 1, 1),
        "#### 1500\nor 1600": (1, 0, 1),
        "#### $1,600": (1, 1, 1),
        "####": (1, 0, 0),
        "": (0, 0, 0),
    }.items():
        marks = score(problem, completion)
        assert (marks.parts["format"], marks.parts["strict"], marks.parts["lenient"]) == expected, completion
        assert marks.correct == (marks.reward == 1.0) == (expected[:2] == (1, 1)), completion
    assert checker("r1_zero").score(problem, "x </think> <answer> 1600 </answer>").correct
    assert checker("question_only").score(problem, "so \\boxed{1600}").correct
    assert not checker("question_only").score(problem, "#### 1600").correct


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_accepts_its_demonstrations(name: str) -> None:
    task = GSM8K(GSM8KConfig(source="sample", template=name))  # type: ignore[arg-type]
    for example in both(task, "examples"):
        assert task.check(example, example.demonstration).correct
        assert task.check(example, example.answer).correct
        assert "<<" not in example.demonstration
        assert "####" not in example.demonstration or name not in ("r1_zero", "question_only")


@pytest.mark.parametrize("name", ["qa", "r1_zero", "question_only"])
def test_rewards_of_a_users_get_the_bare_answer(name: Any) -> None:
    """And not the completion that the template makes of it, which no reward could read."""
    seen = []

    def told(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        seen.extend(answer)
        return [1.0] * len(answer)

    task = GSM8K(GSM8KConfig(source="sample", template=name))
    example = task.examples("train")[0]
    shaped = Graded(task, Composition.from_functions([told]))
    assert shaped.check(example, "x").reward == shaped.check_all([example], ["x"])[0].reward == 1.0
    assert seen == [example.gold] * 2
    assert Graded(task, checker(name)).check(example, example.demonstration).correct


def test_the_samples_golds_are_right() -> None:
    for row in sample():
        numbers = [int(word) for word in row.context[0].content.replace(".", "").split() if word.isdigit()]
        gold = int(row.answer or "")
        keeps = "keeps" in row.context[0].content
        assert gold == (numbers[0] * numbers[1] + numbers[2] if keeps else numbers[0] - numbers[1] + numbers[2])


def gsm(n: int, start: int = 0) -> list[dict[str, str]]:
    return [{"question": f"q{i}?", "answer": f"<<1+{i}=2>>x\n#### {i}"} for i in range(start, start + n)]


def test_local_files_and_directories(tmp_path: Path) -> None:
    single = GSM8K(GSM8KConfig(path=write(tmp_path / "gsm8k_train.jsonl", gsm(40))))
    assert len(list(both(single, "examples"))) == 40
    with pytest.raises(DataError, match="has no file with 'test' in the name and one of the endings"):
        GSM8K(GSM8KConfig(path=str(tmp_path)))
    (tmp_path / "gsm8k_test.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, gsm(6, 38))).encode()))
    whole = GSM8K(GSM8KConfig(path=str(tmp_path), n_held_out=5))
    assert len(whole.examples("train")) == 38  # two of them are in the test file
    assert [e.gold for e in whole.examples("held_out")] == ["38", "39", "40", "41", "42"]
    assert whole.examples("held_out")[0].prompt == "Question: q38?\nAnswer: "
    write(tmp_path / "train.jsonl", gsm(3))
    assert len(GSM8K(GSM8KConfig(path=str(tmp_path))).examples("train")) == 38  # the one that has gsm8k in its name
    (tmp_path / "gsm8k_test.jsonl.gz").rename(tmp_path / "test.jsonl.gz")
    (tmp_path / "gsm8k_train.jsonl").rename(tmp_path / "train-2.jsonl")
    with pytest.raises(DataError, match="has 2 files with 'train' in the name"):
        GSM8K(GSM8KConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match=r"line 1: is no problem of GSM8K, which has `question` and `answer`"):
        GSM8K(GSM8KConfig(path=write(tmp_path / "x.jsonl", [{"prompt": "a", "answer": "b"}])))
    with pytest.raises(DataError, match=r"line 1: is no problem of GSM8K"):
        GSM8K(GSM8KConfig(path=write(tmp_path / "x.jsonl", [{"question": "a", "answer": "no gold"}])))


def test_the_hub_out_of_reach(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        NotAvailable, match=r"needs huggingface_hub, .*pip install 'align-scratch\[hub\]', or give"
    ) as e:
        GSM8K(GSM8KConfig())
    assert e.value.exit_code == 4

    def offline(**_: Any) -> str:
        raise OSError("no route to host\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=offline))
    with pytest.raises(
        NotAvailable,
        match=r"openai/gsm8k/main/train-.*parquet of revision \w+ is neither in the cache .*no route to ho",
    ):
        GSM8K(GSM8KConfig())


def test_the_hub_in_reach(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("pyarrow", reason="the hub's files are Parquet: extra align-scratch[hub]")
    import pyarrow
    import pyarrow.parquet

    def fetch(*, repo_id: str, filename: str, repo_type: str, revision: str) -> str:
        assert (repo_id, repo_type) == ("openai/gsm8k", "dataset")
        path = tmp_path / filename.replace("/", "-")
        rows = gsm(9) if "train" in filename else gsm(4, 20)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fetch))
    task = GSM8K(GSM8KConfig())
    assert (len(task.examples("train")), len(task.examples("held_out"))) == (9, 4)


def test_the_real_thing() -> None:
    """Counts of the published test file; golds with commas and signs included."""
    if not (DATA / "gsm8k_test.jsonl").exists():
        pytest.skip("the GSM8K files are not here")
    task = GSM8K(GSM8KConfig(path=str(DATA)))
    held_out = task.examples("held_out")
    assert len(held_out) == 1319
    assert len(task.examples("train")) > 7400
    golds = [example.gold for example in held_out]
    values = [int(gold.replace(",", "")) for gold in golds]
    assert sum(value >= 1000 for value in values) == 131
    assert sum("," in gold for gold in golds) == 14
    assert sum(value < 0 for value in values) == 2
    assert not any("<<" in example.demonstration for example in held_out)
    for example in held_out:
        assert task.check(example, example.demonstration).correct
    assert not {e.prompt for e in held_out} & {e.prompt for e in task.examples("train")}


# --- instructions ----------------------------------------------------------------------------------------------------


def test_instructions() -> None:
    task = Instructions(InstructionsConfig(n_train=600, n_held_out=100))
    examples = list(both(task, "examples"))
    assert len(examples) == 700
    words = [e.prompt.split("### Instruction:\n")[1].split("\n")[0] for e in examples]
    for text, example in zip(words, examples, strict=True):
        items = [word.strip(".?") for word in text.split() if len(word.strip(".?")) == 1]
        expected = {
            "Write": " ".join(items).upper() if "capitals" in text else " ".join(reversed(items)),
            "Repeat": " ".join(items),
            "How": str(len(items)),
            "Sort": " ".join(sorted(items)),
            "What": (items or [""])[0] if "first" in text else (items or [""])[-1],
        }[text.split()[0]]
        assert example.answer == (max(items) if "largest" in text else expected), text
    starts = {text.split(" of ")[0].split(" ")[0] for text in words}
    assert starts == {"Write", "Repeat", "What", "How", "Sort"}
    assert task.check(examples[0], examples[0].answer).correct
    assert len(KINDS) == 8


def test_a_small_space_gives_what_it_has() -> None:
    task = Instructions(InstructionsConfig(length=2, n_train=4500, n_held_out=600, template="plain"))
    prompts = [e.prompt for e in both(task, "examples")]
    assert len(prompts) == len(set(prompts)) > 3000


def test_an_instruction_stands_on_one_side_whatever_the_template() -> None:
    sides = {}
    for name in ("alpaca", "plain"):
        task = Instructions(InstructionsConfig(n_train=300, n_held_out=60, template=name))  # type: ignore[arg-type]
        texts = [[e.prompt for e in task.examples(split)] for split in ("train", "held_out")]
        sides[name] = [{text.split("### Instruction:\n")[-1].split("\n")[0] for text in side} for side in texts]
    assert not sides["alpaca"][0] & sides["plain"][1]
    assert not sides["plain"][0] & sides["alpaca"][1]


def test_sft_on_a_file_learns_it(tmp_path: Path, parts: Any) -> None:
    """End to end: from lines on disk to exact match on prompts that were held out."""
    words = [f"{a}{b}" for a in "abcdefghijklm" for b in "abcdefghijklm"]
    path = write(tmp_path / "d.jsonl", [{"prompt": f"{w} =", "completion": w[::-1]} for w in words])
    built = parts(File(FileConfig(path=path)), n_embd=48)
    trainer = SFT(SFTConfig(steps=120, batch_size=32, lr=1e-2, packing="buckets"), **built)
    for _ in trainer.train():
        pass
    after = trainer.evaluate()
    assert after["exact_match"] == after["greedy"] >= 0.5  # chance: 1 in 169
    assert torch.isfinite(torch.tensor([v for v in after.values() if v is not None])).all()


def test_a_checker_that_cannot_mark_anything_says_why(tmp_path: Path, parts: Any) -> None:
    from align_scratch.evaluation import Evaluation

    records = [{"prompt": f"a {i}", "answer": "many"} for i in range(9)]
    built = parts(File(FileConfig(path=write(tmp_path / "d.jsonl", records), checker="numeric")))
    del built["seed"]
    with pytest.raises(CheckerFailed, match=r"none of .* could be marked: .*the answer 'many' has no number"):
        Evaluation(max_new_tokens=2, **built).run()


def test_messages_stand_for_prompts() -> None:
    row = Row("x", context=(Message("user", "a"),))
    assert identity(row) != identity(Row("x", context=(Message("system", "a"),)))
    assert identity(row) == identity(Row("x", context=(Message("user", "a \n"),)))  # one question, on one side
