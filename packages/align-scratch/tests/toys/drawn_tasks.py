"""Every drawn task by its name, with its dial and its variants."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from align_scratch.config.drawn_tasks import (
    BracketsConfig,
    CopyConfig,
    CountdownConfig,
    CountLettersConfig,
    MulConfig,
    ParityConfig,
    SubConfig,
)
from align_scratch.config.tasks import AddConfig, ReverseConfig
from align_scratch.tasks.addition import Add
from align_scratch.tasks.brackets import Brackets
from align_scratch.tasks.copying import Copy
from align_scratch.tasks.countdown import Countdown
from align_scratch.tasks.counting import CountLetters
from align_scratch.tasks.multiplication import Mul
from align_scratch.tasks.parity import Parity
from align_scratch.tasks.problems import ProblemTask
from align_scratch.tasks.reversal import Reverse
from align_scratch.tasks.subtraction import Sub

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "40"))
Make = Callable[..., ProblemTask]
MAKE: dict[str, Make] = {
    "sub": lambda **o: Sub(SubConfig(**o)),
    "mul": lambda **o: Mul(MulConfig(**o)),
    "copy": lambda **o: Copy(CopyConfig(**o)),
    "parity": lambda **o: Parity(ParityConfig(**o)),
    "count-letters": lambda **o: CountLetters(CountLettersConfig(**o)),
    "brackets": lambda **o: Brackets(BracketsConfig(**o)),
    "countdown": lambda **o: Countdown(CountdownConfig(**o)),
    "add": lambda **o: Add(AddConfig(**o)),
    "reverse": lambda **o: Reverse(ReverseConfig(**o)),
}
DIAL = {"sub": ("digits", 1, 32), "mul": ("digits", 1, 32), "copy": ("length", 2, 64), "parity": ("length", 6, 64)}
DIAL |= {"count-letters": ("length", 4, 64), "brackets": ("length", 4, 64), "countdown": ("numbers", 2, 6)}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sub": [{}, {"negative": True}],
    "mul": [{}],
    "copy": [{}],
    "parity": [{}, {"working": False}],
    "count-letters": [{}, {"letters": 2}, {"letters": 26}],
    "brackets": [{}, {"kinds": 2}, {"kinds": 4}],
    "countdown": [{}, {"use": "any"}, {"largest": 25, "target": 500}],
}
every_task = pytest.mark.parametrize("name", list(DIAL))
every_variant = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants]
)
