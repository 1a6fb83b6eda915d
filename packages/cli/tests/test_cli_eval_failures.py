"""Evaluation of a task whose checker raises, hangs or counts failures: all of them told, and none waited for."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="models are judged with torch")

from scratch_cli.errors import RunFailed  # noqa: E402
from scratch_cli.evaluation import time_limit  # noqa: E402
from scratch_cli.evaluation.judging import Evaluation, Wanted, lines  # noqa: E402


class Tokenizer:
    """Characters, by their code; 0 ends."""

    eos_id = 0

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Any) -> str:
        return "".join(map(chr, ids))


class Echo(torch.nn.Module):  # type: ignore[misc]
    """Writes the prompt's last character, then the end."""

    max_length = 8
    vocab_size = 128

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(100.0))

    def features(self, ids: Any, *, lengths: Any = None, cache: Any = None) -> Any:
        seen = cache is not None and cache.seen
        if cache is not None:
            cache.seen = True
        return torch.nn.functional.one_hot(torch.zeros_like(ids) if seen else ids, 128).float()

    def head(self, features: Any) -> Any:
        return features * self.scale

    def new_cache(self, batch_size: int, max_length: int) -> Any:
        cache = SimpleNamespace(seen=False)
        cache.select = lambda rows: cache
        return cache


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging code waits for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()
    for thread in time_limit._abandoned:
        thread.join(10)


def judged(task: Any, prompts: str, seconds: float = 0.2) -> tuple[dict[str, Any], list[Any]]:
    """The result, and every output, of a model that answers each one-character prompt with itself."""
    examples = [SimpleNamespace(prompt=prompt, answer=prompt, demonstration=prompt) for prompt in prompts]
    sampler = SimpleNamespace(sample=lambda logits, generator: logits.argmax(-1))
    outputs: list[Any] = []
    evaluation = Evaluation(model=Echo(), tokenizer=Tokenizer(), sampler=sampler, task=task, examples=examples)
    wanted = Wanted(max_new_tokens=3, samples=2, batch=2, seconds=seconds)
    result = evaluation.run(wanted, write=outputs.append, tick=lambda *_: None)
    return result, outputs


class Task:
    """Right is what the prompt was; the characters h, r, n, p and s are in for something else."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def check(self, example: Any, completion: str) -> Any:
        counts = {"pattern/timeouts": 1} if completion == "p" else {}
        if completion == "h":
            self.gate.wait()
        if completion == "r":
            raise ValueError("no")
        reward = math.nan if completion in "np" else 1.0
        correct = completion == example.answer and reward == 1.0
        return SimpleNamespace(reward=reward, correct=correct, parts={}, explanation="", counts=counts)


def test_a_hanging_checker_costs_a_mark_and_not_the_evaluation(gate: threading.Event) -> None:
    class Once(Task):
        """Hangs once: threads that go on for ever are counted, and the third ends it."""

        hung = 0

        def check(self, example: Any, completion: str) -> Any:
            self.hung += completion == "h"
            return super().check(example, completion if self.hung <= 1 else completion.replace("h", "a"))

    started = time.monotonic()
    result, outputs = judged(Once(gate), "ahb")
    assert time.monotonic() - started < 5  # and not for ever
    assert result["greedy"]["accuracy"] == pytest.approx(2 / 3)
    assert (result["greedy"]["timeouts"], result["greedy"]["errors"]) == (1, 0)
    [late] = [row for row in outputs if row["mode"] == "greedy" and row["completion"] == "h"]
    assert late["explanation"] == "the checker did not come back within 0.2 seconds"
    assert not late["correct"]
    told = dict(lines(result))
    assert told["greedy, not judged in time, counted as wrong"] == "1 of 3 completions"


def test_three_calls_that_hang_end_it(gate: threading.Event) -> None:
    with pytest.raises(RunFailed, match=r"did not come back within 0\.05 seconds from 3 completions"):
        judged(Task(gate), "hhhh", seconds=0.05)


def test_a_final_answer_that_hangs_has_no_vote(gate: threading.Event) -> None:
    class Slow(Task):
        asked = 0

        def final_answer(self, completion: str) -> str:
            self.asked += 1
            if self.asked == 1:
                self.gate.wait()
            return completion

    result, _ = judged(Slow(gate), "ab")
    assert result["greedy"]["failures"] == {"final_answer/timeouts": 1}
    assert (result["greedy"]["timeouts"], result["greedy"]["accuracy"]) == (0, 1.0)  # the mark was made


def test_a_final_answer_that_raises_is_no_error_of_the_judgement(gate: threading.Event) -> None:
    class Raises(Task):
        def final_answer(self, completion: str) -> str:
            raise ValueError("no")

    result, _ = judged(Raises(gate), "ab")
    assert result["greedy"]["failures"] == {"final_answer/errors": 2}
    assert (result["greedy"]["errors"], result["greedy"]["accuracy"]) == (0, 1.0)
    assert result["majority"]["without_an_answer"] == 2


def test_choices_that_the_task_itself_cannot_judge_end_it(gate: threading.Event) -> None:
    class Chooses(Task):
        def choices(self, example: Any) -> list[str]:
            return ["r", "r"]

    with pytest.raises(RunFailed, match="cannot judge its own choices of problem 0: ValueError: no"):
        judged(Chooses(gate), "a")


def test_failures_are_counted_by_kind_and_by_part(gate: threading.Event) -> None:
    result, outputs = judged(Task(gate), "arnpp")
    assert result["greedy"]["errors"] == 4
    assert result["greedy"]["failures"] == {"pattern/timeouts": 2}
    assert result["sampled"]["failures"] == {"pattern/timeouts": 4}
    told = dict(lines(result))
    assert told["greedy, not judged, counted as wrong"] == "4 of 5 completions"
    assert told["greedy, pattern/timeouts"] == "2 of 5 completions"
    assert told["sampled, pattern/timeouts"] == "4 of 10 completions"
    assert [row["failures"] for row in outputs if row["mode"] == "greedy"][-1] == {"pattern/timeouts": 1}


def test_what_the_threads_of_an_evaluation_raise_is_raised_here() -> None:
    with pytest.raises(KeyError, match="inner"):
        time_limit.call_within(5.0, lambda: {}["inner"])
    with pytest.raises(SystemExit):
        time_limit.call_within(5.0, lambda: (_ for _ in ()).throw(SystemExit(3)))
    assert time_limit.call_within(5.0, lambda: 7) == 7
