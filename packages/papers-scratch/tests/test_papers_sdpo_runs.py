"""Over many steps: collapses are told from good runs, a teacher reads once what it can, and hints are rehearsed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch

from align_scratch.tasks.problems import Example, Score
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from inference_scratch.score import pack
from papers_scratch.config.sdpo import SDPOConfig
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.errors import PolicyCollapsed
from papers_scratch.sdpo.collapse import WINDOW, CollapseWatch
from papers_scratch.sdpo.policy import Reading, Teacher
from papers_scratch.sdpo.rehearsal import Rehearsal
from papers_scratch.sdpo.reprompting import Reprompt
from papers_scratch.sdpo.trainer import SDPO
from papers_scratch.transformers_model import TransformersLM

Change = Callable[[int, dict[str, Any]], None]


def stream(change: Change, steps: int = 100) -> list[dict[str, Any]]:
    """A run that stays as it is, but for what `change(step, row)` does to it."""
    rows = []
    for step in range(1, steps + 1):
        row = {
            "step": step,
            "self_distillation/success_sample_fraction": 0.6,
            "self_distillation/distillation_loss": 0.3,
            "completions/mean_length": 10.0,
            "self_distillation/teacher_distance": 1.0,
        }
        change(step, row)
        rows.append(row)
    return rows


def after(start: int, **values: Any) -> Change:
    def change(step: int, row: dict[str, Any]) -> None:
        if step >= start:
            for short, value in values.items():
                [key] = [key for key in row if key.endswith(short)]
                row[key] = value(step) if callable(value) else value

    return change


def first_seen(change: Change, *, average: bool = True) -> tuple[int, str] | None:
    watch = CollapseWatch(average=average)
    for row in stream(change):
        if (said := watch.see(row)) is not None:
            return row["step"], said
    return None


SIGNS = {
    "agree": (after(40, fraction=0.1, loss=0.001), "student and teacher agree (0.01"),
    "nothing": (after(40, fraction=0.0, loss=None), "there is nothing to distil"),
    "short": (after(40, fraction=0.1, length=3.0), "tokens, 10.0 at first"),
    "behind": (after(40, fraction=0.1, distance=lambda step: step / 40), "the average falls behind"),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_collapse_is_few_successes_and_a_sign_of_why(name: str) -> None:
    change, said = SIGNS[name]
    found = first_seen(change)
    assert found is not None
    step, text = found
    assert 45 <= step <= 40 + WINDOW
    assert said in text
    assert "60.0% up to step" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "change",
    [
        lambda step, row: None,
        after(40, fraction=0.4, loss=0.0, length=1.0),  # every sign, and most of the successes
        after(40, fraction=0.1),  # few successes without a sign: the problems may be harder now
        after(1, fraction=0.05, loss=lambda step: 0.3 if step < 30 else 0.0),  # never had any
        after(20, fraction=0.99, loss=0.0),  # solved
        lambda step, row: after(1, fraction=0.3 + 0.3 * math.sin(step), loss=0.01)(step, row),  # noise
    ],
    ids=["nothing", "signs alone", "few alone", "never any", "solved", "noise"],
)
def test_a_good_run_goes_on(change: Change) -> None:
    assert first_seen(change) is None


def test_the_distance_means_something_for_an_average_only() -> None:
    assert first_seen(SIGNS["behind"][0], average=False) is None


def test_a_resumed_watch_says_the_same() -> None:
    rows = stream(SIGNS["short"][0])
    whole, first = CollapseWatch(average=False), CollapseWatch(average=False)
    expected = [whole.see(row) for row in rows]
    found = [first.see(row) for row in rows[:47]]
    second = CollapseWatch(average=False)
    second.load_state_dict(first.state_dict())
    assert found + [second.see(row) for row in rows[47:]] == expected
    assert any(expected)


# --- in the trainer


class Letters:
    eos_id, vocab_size = 0, 27

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [[1 + ord(c) % 26 for c in text] for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return ["".join(chr(96 + i) for i in row if i > 0) for row in rows]


class Fickle:
    """Pays for most completions, and after `until` of them for none."""

    def __init__(self, until: int) -> None:
        self.until, self.seen = until, 0

    def examples(self, split: str) -> list[Example]:
        return [Example(prompt=f"{split[0]}{letter}", answer="ab", demonstration="ab") for letter in "abcdefgh"]

    def check(self, example: Example, completion: str) -> Score:
        self.seen += 1
        paid = self.seen <= self.until and completion[:1] < "r"
        return Score(reward=float(paid), correct=paid, parts={}, explanation="")


def trainer(task: Any, **options: Any) -> SDPO:
    torch.manual_seed(0)
    config = TransformersConfig(architecture="gpt2", n_layer=1, n_head=2, n_embd=16, max_length=64)
    small = {"steps": 50, "prompts_per_step": 4, "group_size": 2, "minibatches": 2, "warmup_steps": 0}
    return SDPO(
        SDPOConfig(**{**small, "max_new_tokens": 3, "track_kl": 0, **options}),
        model=TransformersLM(config, vocab_size=Letters.vocab_size),
        tokenizer=Letters(), task=task, sampler=Multinomial(MultinomialConfig()),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:sdpo. nothing to distil")
def test_a_run_ends_where_it_collapses_if_it_is_to() -> None:
    seen: list[Any] = []
    steps = (m["self_distillation/collapsed"] for m in trainer(Fickle(8 * 25), stop_on_collapse=True).train())
    with pytest.raises(PolicyCollapsed, match=r"sdpo: stopped after step \d+: .* succeed .*; go on from"):
        seen.extend(steps)
    assert 30 < len(seen) < 50
    assert seen == [0] * (len(seen) - 1) + [1]  # what the collapse was seen in is logged


@pytest.mark.filterwarnings("ignore:sdpo. nothing to distil")
def test_it_goes_on_and_says_so_otherwise() -> None:
    seen = [metrics["self_distillation/collapsed"] for metrics in trainer(Fickle(8 * 25)).train()]
    assert len(seen) == 50
    assert seen[-1] == 1
    good = trainer(Fickle(10**9), stop_on_collapse=True, steps=30)
    assert {metrics["self_distillation/collapsed"] for metrics in good.train()} == {0}


@pytest.mark.parametrize("distillation", ["full", "sampled"])
def test_how_far_apart_student_and_teacher_are_is_logged_in_nats(distillation: str) -> None:
    """A surrogate whose gradient is right has a value that says nothing: below 0 where they differ most."""
    run = trainer(Fickle(10**9), distillation=distillation, minibatches=1, steps=5, prompts_per_step=8, group_size=8)
    for metrics in run.train():
        assert run._last is not None
        rows = list(zip(run.last_rollouts(), run._last[1].generation.to_lists(), strict=True))
        taught = [(row["advantage"], len(ids)) for row, ids in rows if row["teacher_prompt"] is not None]
        estimate = -sum(mean * n for mean, n in taught) / sum(n for _, n in taught)
        found = metrics["self_distillation/distillation_loss"]
        if distillation == "sampled":
            assert found == pytest.approx(estimate, rel=1e-4, abs=1e-6)
        else:
            assert found > 0


# --- several passes over a batch


@pytest.mark.parametrize(("kind", "readings"), [("frozen", 2), ("ema", 2), ("live", 6), ("trust_region", 6)])
def test_a_teacher_that_stays_reads_a_batch_once(kind: str, readings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    read = Teacher.log_probs

    def counting(*args: Any) -> Any:
        calls.append(1)
        return read(*args)

    monkeypatch.setattr(Teacher, "log_probs", counting)
    options: Any = {"teacher": kind, "epochs_per_batch": 3, "steps": 2, "lr": 1e-2}
    kept = trainer(Fickle(10**9), **options)
    list(kept.train())
    assert len(calls) == 2 * readings

    def never(*args: Any, most_kept: int) -> Reading:
        return Reading(*args, most_kept=0)

    monkeypatch.setattr("papers_scratch.sdpo.trainer.Reading", never)
    again = trainer(Fickle(10**9), **options)
    list(again.train())
    assert len(calls) == 2 * readings + 2 * 6
    for a, b in zip(kept.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


# --- rehearsal


def test_a_rehearsal_is_imitation_of_what_a_prompt_shows() -> None:
    """Row by row: the mean over tokens of the sibling that is shown, and over all rows of the update."""
    torch.manual_seed(0)
    config = TransformersConfig(architecture="gpt2", n_layer=1, n_head=2, n_embd=16, max_length=12)
    model = TransformersLM(config, vocab_size=Letters.vocab_size).eval()
    completions = [[3, 4, 0], [5, 0], [6, 7, 8, 9, 0], [2, 0], [1, 0]]
    prompts = [[1, 2, 3, 4], [1, 5], [2, 6, 7], [9, 9, 9, 9, 9, 9, 9, 9], [4, 4]]
    shown = [1, 0, None, 2, 1]  # row 2 shows feedback alone; of row 3 the sibling does not fit; row 4 has no teacher
    rehearsal = Rehearsal(
        model, Multinomial(MultinomialConfig()),
        contexts=[Reprompt(text="c", demonstration=j, feedback=j is None) for j in shown],
        completions=completions, teacher_rows=pack(prompts, completions),
        taught=torch.tensor([True, True, True, True, False]),
    )  # fmt: skip
    expected = torch.zeros(())
    for row, j in ((0, 1), (1, 0)):
        ids = torch.tensor([prompts[row] + completions[j]])
        log_probs = model.head(model.features(ids))[0].log_softmax(-1)
        start = len(prompts[row])
        told = [log_probs[start + t - 1, token] for t, token in enumerate(completions[j])]
        expected = expected - torch.stack(told).mean() / 7
    torch.testing.assert_close(rehearsal.loss(torch.arange(5), 7), expected)
    parts = rehearsal.loss(torch.tensor([0, 4]), 7) + rehearsal.loss(torch.tensor([1, 2, 3]), 7)
    torch.testing.assert_close(parts, expected)
    assert float(rehearsal.loss(torch.tensor([2, 4]), 7)) == 0.0
