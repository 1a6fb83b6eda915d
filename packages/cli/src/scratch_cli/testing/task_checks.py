"""Checks for tasks: what is held out is unknown, and the checker is right and cannot be hurt. Needs no torch."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from scratch_cli.testing.outcome import CheckFailed, require
from scratch_cli.testing.subject import Subject

SPLITS = ("train", "held_out")
SECONDS = 10.0
"""For one hostile completion. A checker takes microseconds; this is for slow and busy machines."""

HOSTILE = {
    "nothing": "",
    "NUL characters": "\0" * 100,
    "a million digits": "9" * 1_000_000,
    "a tower of powers": "9**9**9**9**9",
    "deep brackets": "(" * 100_000,
    "an import": "__import__('os').system('exit 1')",
    "a regular-expression trap": "a" * 30_000 + "!",
    "a lone surrogate": "\ud800",
    "many lines": "\n" * 100_000,
    "right-to-left marks": "\u202e1 + 1\u202c",
    "a million spaces": " " * 1_000_000,
    "not a number": "nan inf -inf 1e999999",
    "a huge exponent": "1e" + "9" * 4000,
    "markup": "<script>alert(1)</script>",
}


def built(subject: Subject) -> Any:
    return subject.cls()(subject.config())


def check_splits_share_no_text(subject: Subject) -> None:
    """Both splits have texts, the same each time they are asked for, and no text is in both."""
    task = built(subject)
    found: dict[str, set[str]] = {}
    for split in SPLITS:
        texts = list(task.texts(split))
        require(texts, f"texts({split!r}) is empty")
        require(all(isinstance(text, str) for text in texts), f"texts({split!r}) must be text")
        require(any(text.strip() for text in texts), f"texts({split!r}) has only empty texts")
        require(list(task.texts(split)) == texts, f"texts({split!r}) differs the second time")
        found[split] = {text.strip() for text in texts}
    require(list(task.texts()) == list(task.texts("train")), "texts() must be texts('train')")
    both = found["train"] & found["held_out"]
    require(not both, f"{len(both)} texts are in both splits, for example {min(both, default='')!r:.80}")


def check_the_same_config_gives_the_same_task(subject: Subject) -> None:
    """Two tasks of one config have the same texts, whatever Python's random state is, which they leave alone."""
    state = random.getstate()
    first = [list(built(subject).texts(split)) for split in SPLITS]
    require(random.getstate() == state, "building the task draws from Python's global random state")
    random.seed(12345)
    second = [list(built(subject).texts(split)) for split in SPLITS]
    random.setstate(state)
    require(first == second, "two tasks of the same config have other texts")


def check_unknown_split(subject: Subject) -> None:
    """A split that does not exist is an error, not an empty list."""
    try:
        texts = list(built(subject).texts("no-such-split"))
    except Exception:
        return
    raise CheckFailed(f"texts('no-such-split') gives {len(texts)} texts, must raise an error")


def check_splits_share_no_prompt(subject: Subject) -> None:
    """Both splits have examples of prompt, answer and demonstration, and no prompt is in both, or twice in one."""
    task = built(subject)
    prompts: dict[str, set[str]] = {}
    for split in SPLITS:
        examples = task.examples(split)
        require(len(examples) > 0, f"examples({split!r}) is empty")
        for example in examples:
            for name in ("prompt", "answer", "demonstration"):
                value = getattr(example, name)
                require(isinstance(value, str), f"{name} of an example is {value!r}, must be text")
        prompts[split] = {example.prompt for example in examples}
        twice = len(examples) - len(prompts[split])
        require(not twice, f"{twice} prompts are more than once in examples({split!r})")
        again = task.examples(split)
        require(
            [e.prompt for e in again] == [e.prompt for e in examples], f"examples({split!r}) differ the second time"
        )
    both = prompts["train"] & prompts["held_out"]
    require(not both, f"{len(both)} prompts are in both splits, for example {min(both, default='')!r:.80}")


def check_accepts_its_own_answers(subject: Subject) -> None:
    """The checker calls every answer correct, explains nothing about it, and says so twice."""
    task = built(subject)
    for split in SPLITS:
        for example in task.examples(split):
            score = _score(task, example, example.answer)
            require(score.correct is True, f"{example.prompt!r}: its own answer {example.answer!r} is not correct")
            require(score.explanation == "", f"{example.prompt!r}: correct, but explained: {score.explanation!r}")
            again = task.check(example, example.answer)
            require(again.reward == score.reward, f"{example.prompt!r}: checked twice, rewarded differently")


def check_rejects_corrupted_answers(subject: Subject) -> None:
    """Changed, shortened, lengthened and swapped answers are mostly wrong, say why, and never pay as much."""
    task = built(subject)
    rng = random.Random(0)
    examples = [example for split in SPLITS for example in task.examples(split)]
    letters = sorted({c for example in examples for c in example.answer if not c.isspace()}) or ["x"]
    for name, corrupt in _CORRUPTIONS.items():
        tried = accepted = 0
        for example in examples:
            completion = corrupt(example.answer, letters, rng)
            if completion is None or completion.split() == example.answer.split():
                continue
            tried += 1
            score = _score(task, example, completion)
            accepted += score.correct
            if not score.correct:
                where = f"{example.prompt!r}, {name} answer {completion!r}"
                require(score.explanation, f"{where}: wrong, but explanation is empty")
                best = task.check(example, example.answer).reward
                require(score.reward < best, f"{where}: pays {score.reward}, as much as the answer ({best})")
        # A problem may have several right answers, so that single corruptions are right by chance.
        require(
            not tried or accepted <= tried / 4,
            f"{accepted} of {tried} {name} answers are accepted as correct",
        )


def _changed(answer: str, letters: list[str], rng: random.Random) -> str | None:
    at = [i for i, c in enumerate(answer) if not c.isspace()]
    if not at or len(letters) < 2:
        return None
    i = rng.choice(at)
    return answer[:i] + rng.choice([c for c in letters if c != answer[i]]) + answer[i + 1 :]


def _shortened(answer: str, _: list[str], rng: random.Random) -> str | None:
    stripped = answer.rstrip()
    return stripped[:-1] if stripped else None


def _lengthened(answer: str, letters: list[str], rng: random.Random) -> str | None:
    return answer.rstrip() + rng.choice(letters)


def _swapped(answer: str, _: list[str], rng: random.Random) -> str | None:
    at = [i for i in range(len(answer) - 1) if answer[i] != answer[i + 1]]
    if not at:
        return None
    i = rng.choice(at)
    return answer[:i] + answer[i + 1] + answer[i] + answer[i + 2 :]


def _doubled(answer: str, _: list[str], rng: random.Random) -> str | None:
    return f"{answer.rstrip()} {answer.strip()}" if answer.strip() else None


_CORRUPTIONS: Mapping[str, Callable[[str, list[str], random.Random], str | None]] = {
    "changed": _changed,
    "shortened": _shortened,
    "lengthened": _lengthened,
    "swapped": _swapped,
    "doubled": _doubled,
}


def check_hostile_completions(subject: Subject) -> None:
    """Hostile completions are judged wrong within seconds, by a finite reward and a short explanation."""
    task = built(subject)
    example = task.examples("held_out")[0]
    for name, completion in HOSTILE.items():
        score = _within(SECONDS, name, lambda completion=completion: _score(task, example, completion))  # type: ignore[misc]
        require(not score.correct, f"{name}: is called correct")
        require(len(score.explanation) <= 2000, f"{name}: the explanation has {len(score.explanation)} characters")


def _score(task: Any, example: Any, completion: str) -> Any:
    score = task.check(example, completion)
    where = f"check({example.prompt!r:.60}, {completion!r:.60})"
    require(isinstance(score.correct, bool), f"{where}: correct is {score.correct!r}, must be a bool")
    require(isinstance(score.explanation, str), f"{where}: explanation must be text")
    numbers = {"reward": score.reward, **score.parts}
    for name, value in numbers.items():
        good = isinstance(value, int | float) and math.isfinite(value)
        require(good, f"{where}: {name} is {value!r}, must be a finite number")
    json.dumps(numbers)
    return score


def _within(seconds: float, name: str, call: Callable[[], Any]) -> Any:
    """The call's result. CheckFailed if it raises or takes longer; it then goes on in the background."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["result"] = call()
        except BaseException as error:  # whatever it is, it is shown and does not end the thread with a message
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    require(not thread.is_alive(), f"{name}: the checker takes more than {seconds:g} seconds")
    error = outcome.get("error")
    if isinstance(error, CheckFailed):
        raise error
    if error is not None:
        raise CheckFailed(f"{name}: the checker raises {error!r}") from error
    return outcome["result"]


def check_pairs(subject: Subject) -> None:
    """Preference pairs have a prompt and two different completions, and no prompt is in both splits."""
    task = built(subject)
    prompts: dict[str, set[str]] = {}
    for split in SPLITS:
        pairs = task.pairs(split)
        require(len(pairs) > 0, f"pairs({split!r}) is empty")
        for pair in pairs:
            for name in ("prompt", "chosen", "rejected"):
                require(isinstance(getattr(pair, name), str), f"{name} of a pair is {getattr(pair, name)!r}")
            require(pair.chosen != pair.rejected, f"{pair.prompt!r}: chosen and rejected are the same")
        prompts[split] = {pair.prompt for pair in pairs}
    both = prompts["train"] & prompts["held_out"]
    require(not both, f"{len(both)} prompts of pairs are in both splits, for example {min(both, default='')!r:.80}")


CHECKS = (
    check_splits_share_no_text,
    check_the_same_config_gives_the_same_task,
    check_unknown_split,
)
CHECKER_CHECKS = (
    check_splits_share_no_prompt,
    check_accepts_its_own_answers,
    check_rejects_corrupted_answers,
    check_hostile_completions,
)
PAIR_CHECKS = (check_pairs,)
