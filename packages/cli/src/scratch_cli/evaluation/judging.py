"""A model's marks on a task's problems: greedy, sampled, pass@k, majority vote, likelihood of given choices.

The problems are always the same ones, in the task's order, and random numbers come from a generator of the evaluation's
own. Every interval is Wilson's over problems: the draws of one problem are not independent, so more draws a problem
make the estimate better and the interval no narrower than the number of problems allows.

A completion that the task's checker cannot judge, or not in time, counts as wrong, and is counted: `errors`,
`timeouts`, and in `failures` what the score's own `counts` say of the parts of the reward.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from scratch_cli.errors import RunFailed
from scratch_cli.evaluation.completing import Completion, complete, log_likelihoods
from scratch_cli.evaluation.estimates import majority, pass_at_k, wilson
from scratch_cli.evaluation.time_limit import SECONDS, call_within

if TYPE_CHECKING:
    from torch import Tensor

Write = Callable[[Mapping[str, Any]], None]
GREEDY, SAMPLED, LIKELIHOOD = "greedy", "sampled", "likelihood"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to measure, and how."""

    samples: int
    """Draws a problem; 0 is greedy alone."""
    k: tuple[int, ...] = ()
    temperature: float = 1.0
    """Divides the logits that the sampler gets, on top of its own options."""
    max_new_tokens: int
    batch: int = 64
    """Completions at a time."""
    seed: int = 0
    seconds: float = SECONDS
    """That the task may take to judge one completion."""


@dataclass
class Problem:
    """One problem and how it went."""

    number: int
    example: Any
    ids: Sequence[int]
    readable: bool
    """Whether the model can read the prompt, with room for an answer. If not, all answers count as wrong."""
    greedy: bool = False
    marks: list[bool] = field(default_factory=list)
    """Of the draws."""
    answers: list[str | None] = field(default_factory=list)
    """What the draws say, normalised."""
    choices: dict[str, bool] = field(default_factory=dict)
    """Way of choosing -> whether the likeliest choice is right."""

    @property
    def subject(self) -> str | None:
        subject = getattr(self.example, "subject", None)
        return None if subject is None else str(subject)


class Evaluation:
    """The parts of a run, and a task to judge them by."""

    def __init__(self, *, model: Any, tokenizer: Any, sampler: Any, task: Any, examples: Sequence[Any]) -> None:
        self.model, self.tokenizer, self.sampler, self.task = model, tokenizer, sampler, task
        self.problems = []
        limit = model.max_length
        for number, example in enumerate(examples):
            ids = tokenizer.encode(example.prompt)
            readable = bool(ids) and (limit is None or len(ids) < limit)
            self.problems.append(Problem(number, example, ids, readable))
        self.readable = [problem for problem in self.problems if problem.readable]
        modes = (GREEDY, SAMPLED)
        self.counts = {name: {"errors": 0, "timeouts": 0, "cut_off": 0, "total": 0} for name in modes}
        self.failures: dict[str, Counter[str]] = {name: Counter() for name in modes}

    def run(self, wanted: Wanted, *, write: Write, tick: Callable[[str, int, int], None]) -> dict[str, Any]:
        """Measure; `write` gets each output, `tick` the stage's name, and how many problems of how many are done."""
        was_training = self.model.training
        self.model.eval()
        try:
            self._complete(GREEDY, wanted, 1, lambda logits: logits.argmax(-1), write, tick)
            if wanted.samples:
                import torch

                device = next(iter(self.model.parameters())).device
                generator = torch.Generator(device).manual_seed(wanted.seed)

                def draw(logits: Tensor) -> Tensor:
                    drawn: Tensor = self.sampler.sample(logits / wanted.temperature, generator)
                    return drawn

                self._complete(SAMPLED, wanted, wanted.samples, draw, write, tick)
            if hasattr(self.task, "choices"):
                self._choose(wanted.seconds, write, tick)
        finally:
            self.model.train(was_training)
        return self._summary(self.problems, wanted) | self._subjects(wanted)

    def _complete(
        self,
        name: str,
        wanted: Wanted,
        samples: int,
        draw: Callable[[Tensor], Tensor],
        write: Write,
        tick: Callable[[str, int, int], None],
    ) -> None:
        problems = self.readable
        size = max(1, wanted.batch // samples)
        for start in range(0, len(problems), size):
            tick(name, start, len(problems))
            batch = problems[start : start + size]
            groups = complete(
                self.model,
                [problem.ids for problem in batch],
                draw,
                limit=wanted.max_new_tokens,
                eos_id=self.tokenizer.eos_id,
                samples=samples,
            )
            for problem, group in zip(batch, groups, strict=True):
                for sample, completion in enumerate(group):
                    marks = self._mark(name, problem, completion, wanted.seconds)
                    write({"problem": problem.number, "mode": name, "sample": sample, **marks})
        tick(name, len(problems), len(problems))

    def _mark(self, name: str, problem: Problem, completion: Completion, seconds: float) -> dict[str, Any]:
        """Judge a completion, and note how it went."""
        text = self.tokenizer.decode(completion.ids)
        error, timed_out = "", False
        reward, correct, parts, explanation, answer = math.nan, False, {}, "", None
        failures: dict[str, int] = {}
        try:
            score = call_within(seconds, partial(self.task.check, problem.example, text))
            reward, correct = float(score.reward), bool(score.correct)
            parts, explanation = dict(score.parts), score.explanation
            failures = dict(getattr(score, "counts", {}))
        except RunFailed:
            raise
        except TimeoutError as raised:
            error, timed_out = str(raised)[:500], True
        except Exception as raised:  # a task's own code, fed with text that nobody has seen before
            error = f"{type(raised).__name__}: {raised}"[:500]
        if not error:
            try:
                answer = call_within(seconds, partial(final_answer, self.task, text))
            except RunFailed:
                raise
            except Exception as raised:  # the judgement stands; only the vote of the majority loses an answer
                kind = "timeouts" if isinstance(raised, TimeoutError) else "errors"
                failures[f"final_answer/{kind}"] = 1
        counts = self.counts[name]
        counts["total"] += 1
        counts["cut_off"] += not completion.finished
        counts["timeouts"] += timed_out
        counts["errors"] += not timed_out and (bool(error) or not math.isfinite(reward))
        self.failures[name].update(failures)
        if name == GREEDY:
            problem.greedy = correct
        else:
            problem.marks.append(correct)
            problem.answers.append(answer)
        return {
            "prompt": problem.example.prompt,
            "completion": text,
            "answer": problem.example.answer,
            "subject": problem.subject,
            "correct": correct,
            "reward": reward,
            "rewards": parts,
            "explanation": error or explanation,
            "failures": failures,
            "final_answer": answer,
            "length": len(completion.ids),
            "truncated": not completion.finished,
        }

    def _choose(self, seconds: float, write: Write, tick: Callable[[str, int, int], None]) -> None:
        """Which of a problem's choices the model finds likeliest, as a whole and for each byte of it."""
        problems, limit = self.readable, self.model.max_length
        for place, problem in enumerate(problems):
            tick(LIKELIHOOD, place, len(problems))
            texts = _own(seconds, partial(_choices, self.task, problem.example), problem)
            ids = [self.tokenizer.encode(text) for text in texts]
            if not all(ids) or (limit is not None and len(problem.ids) + max(map(len, ids)) > limit):
                continue  # wrong: it cannot be read
            values = log_likelihoods(self.model, problem.ids, ids)
            for way, lengths in (("whole", [1] * len(texts)), ("per_byte", [len(text.encode()) for text in texts])):
                best = max(range(len(texts)), key=lambda at: values[at] / lengths[at])
                judge = partial(self.task.check, problem.example, texts[best])
                problem.choices[way] = bool(_own(seconds, judge, problem).correct)
            row = {"prompt": problem.example.prompt, "answer": problem.example.answer, "subject": problem.subject}
            choices = [{"text": text, "log_prob": value} for text, value in zip(texts, values, strict=True)]
            right = problem.choices["whole"]
            write({"problem": problem.number, "mode": LIKELIHOOD, **row, "choices": choices, "correct": right})
        tick(LIKELIHOOD, len(problems), len(problems))

    # --- results

    def _summary(self, problems: Sequence[Problem], wanted: Wanted) -> dict[str, Any]:
        """Means over problems with intervals."""
        n = len(problems)
        found: dict[str, Any] = {
            "problems": n,
            "prompts_too_long": sum(not problem.readable for problem in problems),
            GREEDY: _estimate([float(problem.greedy) for problem in problems]) | self._counted(GREEDY),
        }
        if wanted.samples:
            rights = [sum(problem.marks) for problem in problems]
            found[SAMPLED] = _estimate([right / wanted.samples for right in rights]) | self._counted(SAMPLED)
            found["pass_at"] = {
                str(k): _estimate([pass_at_k(wanted.samples, right, k) for right in rights]) for k in wanted.k
            }
        if wanted.samples > 1:
            votes = [majority(problem.answers, problem.marks) for problem in problems]
            found["majority"] = _estimate([vote or 0.0 for vote in votes]) | {
                "without_an_answer": sum(vote is None for vote in votes)
            }
        if hasattr(self.task, "choices"):
            found["choices_too_long"] = sum(not p.choices for p in problems)
            for way in ("whole", "per_byte"):
                found[f"likelihood_{way}"] = _estimate([float(p.choices.get(way, False)) for p in problems])
        return found

    def _counted(self, name: str) -> dict[str, Any]:
        counts = self.counts[name]
        failures = {key: count for key, count in sorted(self.failures[name].items()) if count}
        shown = {key: counts[key] for key in ("cut_off", "errors", "timeouts")}
        return shown | {"completions": counts["total"], "failures": failures}

    def _subjects(self, wanted: Wanted) -> dict[str, Any]:
        """The same by subject, and the mean over subjects, where problems have one."""
        names = sorted({problem.subject for problem in self.problems if problem.subject is not None})
        if not names:
            return {}
        by_subject: dict[str, dict[str, Any]] = {}
        for name in names:
            of_subject = self._summary([problem for problem in self.problems if problem.subject == name], wanted)
            by_subject[name] = {
                key: value["accuracy"] if isinstance(value, Mapping) else value
                for key, value in of_subject.items()
                if key == "problems" or (isinstance(value, Mapping) and "accuracy" in value)
            }
        keys = [key for key in by_subject[names[0]] if key != "problems"]
        means = {key: sum(values[key] for values in by_subject.values()) / len(names) for key in keys}
        return {"subjects": by_subject, "mean_of_subjects": means}


def _choices(task: Any, example: Any) -> list[str]:
    return list(task.choices(example))


def _own(seconds: float, call: Callable[[], Any], problem: Problem) -> Any:
    """What a task says of choices that are its own, with no model's text in them. RunFailed if it cannot."""
    try:
        return call_within(seconds, call)
    except RunFailed:
        raise
    except Exception as error:
        raise RunFailed(
            f"the task cannot judge its own choices of problem {problem.number}: {type(error).__name__}: {error}"
        ) from error


def _estimate(values: Sequence[float]) -> dict[str, Any]:
    return {"accuracy": sum(values) / len(values), "interval": list(wilson(sum(values), len(values)))}


def final_answer(task: Any, completion: str) -> str | None:
    """What a completion says, in the form in which equal answers are equal texts; None if it says nothing.

    The task's own `final_answer`, else the completion with its white space evened out.
    """
    own = getattr(task, "final_answer", None)
    if own is not None:
        found = own(completion)
        return None if found is None else str(found)
    return " ".join(completion.split()) or None


def longest_answer(tokenizer: Any, examples: Sequence[Any]) -> int:
    """Ids of the longest answer or demonstration, and one for the EOS."""
    texts = {text for example in examples for text in (example.answer, example.demonstration)}
    return 1 + max((len(tokenizer.encode(text)) for text in texts), default=0)


def lines(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A result in words: name and value of each line."""

    def estimate(values: Mapping[str, Any]) -> str:
        low, high = values["interval"]
        return f"{values['accuracy']:6.1%}  ({low:.1%} to {high:.1%})"

    counted = [(name, result[name]) for name in (GREEDY, SAMPLED) if name in result]
    for name, values in counted:
        yield name, estimate(values)
    for k, values in result.get("pass_at", {}).items():
        yield f"pass@{k}", estimate(values)
    if "majority" in result:
        yield "majority", estimate(result["majority"])
    for way, label in (("whole", "likeliest choice"), ("per_byte", "likeliest per byte")):
        if f"likelihood_{way}" in result:
            yield label, estimate(result[f"likelihood_{way}"])
    for name, value in result.get("mean_of_subjects", {}).items():
        yield f"mean of {len(result['subjects'])} subjects, {name.replace('_', ' ')}", f"{value:6.1%}"
    for name, values in counted:
        counts = [("cut off", values["cut_off"]), ("not judged, counted as wrong", values["errors"])]
        counts += [("not judged in time, counted as wrong", values["timeouts"]), *values["failures"].items()]
        for label, count in counts:
            if count:
                yield f"{name}, {label}", f"{count} of {values['completions']} completions"
    if result.get("choices_too_long"):
        yield "choices the model cannot read, counted as wrong", str(result["choices_too_long"])
    if result["prompts_too_long"]:
        yield "prompts the model cannot read, counted as wrong", str(result["prompts_too_long"])
