"""The last words of a run: what it achieved, three samples, and what to try next."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratch_cli.progress import duration
from scratch_cli.rundir import RUN_TOML, quoted

if TYPE_CHECKING:
    from scratch_cli.pipeline import Ending

CHECKED = ("greedy", "sampled")
WIDTH = 100


def lines(ending: Ending) -> list[str]:
    """The whole summary for a terminal or a file."""
    result = ending.result
    found = [""]
    found += achieved(result)
    lesson = getattr(ending.task, "lesson", "")
    if lesson:
        found += ["", *textwrap.wrap(str(lesson), WIDTH)]
    if result["alarms"]:
        found += ["", "Alarms:"]
        found += [f"  {alarm['text']}" for alarm in result["alarms"]]
    if result["samples"]:
        found += ["", "Samples on held-out prompts:"]
        found += [f"  {sample_line(sample)}" for sample in result["samples"]]
    found += ["", f"Everything is in {ending.directory.path}", "Next:"]
    found += [f"  {command}" for command in next_commands(ending)]
    return found


def achieved(result: Mapping[str, Any]) -> list[str]:
    """Before and after, one line a stage: what was done, how long it took, and how well the model does then."""
    stages = result["stages"]
    checked = all(name in result["after"] for name in CHECKED) or "accuracy" in result["after"]
    task = f", task {result['task']}" if result["task"] else ""
    found = [f"Held-out {'accuracy' if checked else 'data'}{task}:"]
    if len(stages) > 1:
        warm = stages[0]
        start = f"after the warm start ({_work(warm)})"
    else:
        start = "before"
    end = f"after {_work(stages[-1])}"
    width = max(len(start), len(end))
    found += [
        f"  {start:<{width}}  {values_text(result['before'])}",
        f"  {end:<{width}}  {values_text(result['after'])}",
    ]
    return found


def _work(stage: Mapping[str, Any]) -> str:
    return f"{stage['steps']} steps of {stage['trainer']}, {duration(stage['seconds'])}"


def values_text(values: Mapping[str, Any]) -> str:
    """What `evaluate()` gave, in one line."""
    if all(values.get(name) is not None for name in CHECKED):
        shares = (*CHECKED, "accuracy")
        return "  ".join(f"{name} {values[name]:6.1%}" for name in shares if values.get(name) is not None)
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return "  ".join(f"{name} {_number_text(name, value)}" for name, value in numbers.items())


def _number_text(name: str, value: float) -> str:
    if name == "accuracy":
        return f"{value:6.1%}"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def sample_line(sample: Mapping[str, Any]) -> str:
    """One sampled completion in one line, control characters escaped."""
    words = [f"{_shown(sample.get('prompt', ''))} -> {_shown(sample.get('completion', ''))}"]
    if sample.get("reward") is not None:
        words.append(f"reward {sample['reward']:.2f}")
    if sample.get("correct"):
        words.append("correct")
    elif sample.get("answer") is not None:
        words.append(f"expected {_shown(sample['answer'])}")
    return "  ".join(words)


def _shown(text: Any) -> str:
    shown = repr(str(text))
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _prompt(samples: Sequence[Mapping[str, Any]]) -> str:
    """A prompt to try: that of a sample, or its first words if it is a passage of text."""
    prompt = str(samples[0].get("prompt", "")) if samples else ""
    if len(prompt) <= 60 and "\n" not in prompt:
        return prompt or "The"
    line = next((line for line in prompt.splitlines() if line.strip()), "The")
    return line if len(line) <= 40 else line[:40].rpartition(" ")[0] or line[:40]


def next_commands(ending: Ending) -> list[str]:
    """Three commands that work as they stand."""
    plan, result = ending.plan, ending.result
    run, toml = quoted(ending.directory.path), quoted(ending.directory.path / RUN_TOML)
    commands = []
    if "causal-lm" in plan.model.part.provides and "reward-model" not in plan.trainer.part.provides:
        prompt = _prompt(result["samples"])
        commands.append(f"scratch generate {run} {'-- ' if prompt.startswith('-') else ''}{quoted(prompt)}")
    else:
        commands.append(f"scratch eval {run}")
    commands.append(f"scratch run {toml} --seed {plan.run.seed + 1}")
    # With the run's own options, since those of the task decide whether its prompts fit into the model.
    warm = "" if plan.warm_start is None else " --set warm_start.name=none"
    commands.append(f"scratch run {toml} --from {run}{warm}")
    return commands
