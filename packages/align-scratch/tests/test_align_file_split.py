"""What may not stand on both sides of a file's split, and options of data tasks that contradict each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align_scratch.config.data import FileConfig, GSM8KConfig
from align_scratch.errors import NotAvailable
from align_scratch.tasks.file import HELD_OUT, File
from align_scratch.tasks.gsm8k import GSM8K, REVISION


def write(path: Path, records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def turns(number: int, length: int) -> list[dict[str, str]]:
    """A conversation, of which shorter ones of the same number are the beginning."""
    said = [(f"question {number}, {turn}", f"reply {number}, {turn}") for turn in range(length)]
    return [
        {"role": role, "content": text} for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def transcript(messages: list[dict[str, str]]) -> str:
    names = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{names[message['role']]}: {message['content']}" for message in messages)


def listed(number: int, length: int) -> dict[str, Any]:
    return {"prompt": turns(number, length)[:-1], "chosen": "good", "rejected": "bad"}


def without_prompt(number: int, length: int) -> dict[str, Any]:
    asked = turns(number, length)[:-1]
    return {side: [*asked, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}


def transcripts(number: int, length: int) -> dict[str, Any]:
    return {side: transcript(messages) for side, messages in without_prompt(number, length).items()}


def transcript_as_prompt(number: int, length: int) -> dict[str, Any]:
    prompt = transcript(turns(number, length)[:-1]) + "\n\nAssistant:"
    return {"prompt": prompt, "chosen": " good", "rejected": " bad"}


def conversation(number: int, length: int) -> dict[str, Any]:
    return {"messages": turns(number, length)}


@pytest.mark.parametrize("record", [listed, without_prompt, transcripts, transcript_as_prompt, conversation])
def test_pieces_of_one_conversation_stand_on_one_side(record: Any, tmp_path: Path) -> None:
    """As in HH-RLHF, where many prompts are another prompt, its reply and the next question."""
    records = [record(number, length) for number in range(60) for length in (1, 2, 3)]
    task = File(FileConfig(path=write(tmp_path / "pairs.jsonl", records), held_out=0.3))
    sides = [
        {number for number in range(60) for e in task.examples(split) if f"question {number}, 0" in e.prompt}
        for split in ("train", "held_out")
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0]) + len(sides[1]) == 60
    assert all(
        len(task.examples(split)) == 3 * len(side) for split, side in zip(("train", "held_out"), sides, strict=True)
    )


def test_the_system_message_counts_and_later_turns_do_not(tmp_path: Path) -> None:
    """One request under many system prompts is many problems; the same beginning is one."""

    def row(system: str, later: str) -> dict[str, Any]:
        first = [{"role": "system", "content": system}, {"role": "user", "content": "Go on."}]
        return {"prompt": [*first, {"role": "assistant", "content": "So?"}, {"role": "user", "content": later}],
                "answer": "x"}  # fmt: skip

    path = write(tmp_path / "a.jsonl", [row(f"You are {i % 20}.", f"{i}") for i in range(40)])
    task = File(FileConfig(path=path, held_out=0.5))
    assert task.examples("held_out")
    for number in range(20):
        assert len({s for s in ("train", "held_out") for e in task.examples(s) if f"are {number}." in e.prompt}) == 1
    same = write(tmp_path / "b.jsonl", [row("You are one.", f"{i}") for i in range(9)])
    with pytest.raises(ValueError, match=r"a split needs two: .*conversations count by their first question"):
        File(FileConfig(path=same))


def test_what_a_file_to_hold_out_begins_is_not_trained_on(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [transcripts(number, 2) for number in range(9)])
    held_out = write(tmp_path / "test.jsonl", [transcripts(number, 1) for number in range(3)])
    task = File(FileConfig(path=train, held_out_path=held_out))
    assert len(task.examples("train")) == 6
    assert "Left 3 out of training" in task.lesson


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: FileConfig(path="a", held_out_path="b", held_out=0.2), "held_out: got 0.2, must be none with"),
        (lambda: GSM8KConfig(path="a", source="sample"), "source: got 'sample', must be none with path"),
        (lambda: GSM8KConfig(path="a", source="hub"), "source: got 'hub', must be none with path"),
        (lambda: GSM8KConfig(path="a", revision="main"), "revision: got 'main', must be .*none without the hub"),
        (lambda: GSM8KConfig(source="sample", revision="main"), "revision: got 'main', must be .*none without the hub"),
        (lambda: GSM8KConfig(revision=""), "revision: got '', must be a commit, tag or branch"),
    ],
)  # fmt: skip
def test_options_of_which_one_would_be_ignored(build: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_a_tenth_is_held_out_unless_told_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": f"{i}", "answer": f"{i}"} for i in range(400)])
    usual, same = File(FileConfig(path=path)), File(FileConfig(path=path, held_out=HELD_OUT))
    assert len(usual.examples("held_out")) == len(same.examples("held_out"))
    assert 20 < len(usual.examples("held_out")) < 60


@pytest.mark.parametrize(("asked", "got"), [(None, REVISION), ("main", "main"), ("abc123", "abc123")])
def test_the_hubs_data_has_a_revision(asked: str | None, got: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = []

    def fetch(**options: Any) -> str:
        asked_for.append(options["revision"])
        raise OSError("not there")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fetch))
    with pytest.raises(NotAvailable, match=f"of revision {got} is neither in the cache"):
        GSM8K(GSM8KConfig(revision=asked))
    assert asked_for == [got]
    assert len(REVISION) == 40  # a commit, which nobody can move
