"""Preference pairs: the flaw is the stated one, the right answer is preferred, and what is noise is counted."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.drawn_tasks import FLAWS, PreferencesConfig
from align_scratch.tasks.preferences import TASKS, Preferences, share_wrong
from align_scratch.tasks.problems import Pair

SPLITS = ("train", "held_out")


def preferences(**options: Any) -> Preferences:
    return Preferences(PreferencesConfig(**{"n_train": 150, "n_held_out": 40, **options}))


def kinds(chosen: str, rejected: str) -> set[str]:
    """Which flaws the rejected answer could be called to have, by definition."""
    want, got = chosen.split(), rejected.split()
    found = set()
    if len(want) == len(got):
        different = [i for i, (w, g) in enumerate(zip(want, got, strict=True)) if w != g]
        if len(different) == 1:
            found.add("changed")
        if len(different) == 2 and different[1] == different[0] + 1 and Counter(want) == Counter(got):
            found.add("swapped")
        if got == want[::-1]:
            found.add("reversed")
    if len(got) < len(want) and want[: len(got)] == got and got:
        found.add("truncated")
    if len(got) > len(want) and got[: len(want)] == want and len(got) <= len(want) + max(1, len(want) // 2):
        found.add("padded")
    return found


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("flaw", FLAWS)
def test_pairs_prefer_the_answer_to_one_with_the_stated_flaw(task: str, flaw: str) -> None:
    built = preferences(task=task, flaw=flaw)
    seen: Counter[str] = Counter()
    for split in SPLITS:
        examples, pairs = built.examples(split), built.pairs(split)
        assert built.pairs(split) is pairs
        for example, pair in zip(examples, pairs, strict=True):
            assert (pair.prompt, pair.chosen, pair.margin) == (example.prompt, example.answer, None)
            assert built.check(example, pair.chosen).correct
            assert not built.check(example, pair.rejected).correct
            assert pair.rejected == "".join(f" {item}" for item in pair.rejected.split())
            found = kinds(pair.chosen, pair.rejected)
            assert found, pair
            if flaw == "any" or flaw in found:
                seen.update(found)
            else:  # an answer that cannot have the flaw
                assert "changed" in found
                items = pair.chosen.split()
                assert flaw in ("truncated", "swapped", "reversed")
                assert task == "countdown" or len(items) == 1 or items == items[::-1]
    if flaw != "any" and (task, flaw) not in {("count-letters", f) for f in ("truncated", "swapped", "reversed")}:
        assert seen[flaw] > 0
    if flaw == "any" and task == "sort":
        assert min(seen[name] for name in FLAWS[:-1]) > 15


def test_the_length_bias_is_as_stated() -> None:
    for flaw, longer in (("truncated", "chosen"), ("padded", "rejected")):
        pairs = preferences(flaw=flaw).pairs("train")
        lengths = [(len(pair.chosen), len(pair.rejected)) for pair in pairs]
        assert all((c > r) is (longer == "chosen") for c, r in lengths)
    assert all(len(pair.chosen) == len(pair.rejected) for pair in preferences(flaw="swapped").pairs("train"))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_noise_exchanges_that_share_of_training_pairs_only(noise: float) -> None:
    clean, noisy = (preferences(noise=n, n_train=3000, flaw="any") for n in (0.0, noise))
    exchanged = 0
    for a, b in zip(clean.pairs("train"), noisy.pairs("train"), strict=True):
        assert b in (a, Pair(a.prompt, a.rejected, a.chosen, a.margin))
        exchanged += b != a
    assert abs(exchanged / 3000 - noise) <= 4 * sqrt(noise * (1 - noise) / 3000)
    assert clean.pairs("held_out") == noisy.pairs("held_out")


def test_margins_are_the_share_of_wrong_positions() -> None:
    for pair in preferences(margin=2.0, flaw="any").pairs("train"):
        want, got = pair.chosen.split(), pair.rejected.split()
        wrong = [w != g for w, g in zip_longest(want, got)]
        assert pair.margin == pytest.approx(2.0 * sum(wrong) / len(wrong))
        assert 0.0 < pair.margin <= 2.0
    assert {pair.margin for pair in preferences().pairs("train")} == {None}
    assert [share_wrong(" 1 2", c) for c in (" 1 2", " 1 3", " 2 1", " 1", "", " 1 2 3 4")] == [0, 0.5, 1, 0.5, 1, 0.5]
    assert share_wrong("", "") == 0.0


def test_everything_else_is_the_task_below() -> None:
    built = preferences(task="add", difficulty=3)
    for split in SPLITS:
        assert built.examples(split) is built.task.examples(split)
        assert list(built.texts(split)) == list(built.task.texts(split))
        assert {pair.prompt for pair in built.pairs(split)} == {example.prompt for example in built.examples(split)}
        assert max(len(e.prompt) for e in built.examples(split)) == len("9 9 9 + 9 9 9 =")
    assert not {p.prompt for p in built.pairs("train")} & {p.prompt for p in built.pairs("held_out")}
    with pytest.raises(ValueError, match="split: got 'test'"):
        built.pairs("test")
    assert "flawed ones (reversed)" in built.lesson


@given(seed=st.integers(0, 2**63 - 1), task=st.sampled_from(["sort", "sub", "countdown"]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_seed_decides_and_only_the_seed(seed: int, task: str) -> None:
    first, again = (preferences(task=task, seed=seed, flaw="any", noise=0.3, n_train=20, n_held_out=5) for _ in "12")
    assert [first.pairs(s) for s in SPLITS] == [again.pairs(s) for s in SPLITS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "corpus"}, "task: got 'corpus', must be one of sort, add"),
        ({"flaw": "ugly"}, "flaw: got 'ugly', must be one of changed, truncated"),
        ({"noise": 1.5}, "noise: got 1.5, must be between 0.0 and 1.0"),
        ({"margin": -1.0}, "margin: got -1.0, must be between"),
        ({"difficulty": 0}, "difficulty: got 0, must be at least 1"),
        ({"difficulty": 65}, "difficulty: got 65, refused by task sort: length: got 65"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preferences(**options)
