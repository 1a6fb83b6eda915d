"""The few instructions that Python has no word for. `intrinsics.py` says in LLVM's code what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tokenizers_scratch.kernels.compiling import instruction

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes, Ints

BLOCK = 64
"""How many bytes `bytes_between` looks at."""

PADDING = 80
"""Zero bytes behind every text, for what reads ahead. They also end every run of letters, number and contraction."""

VECTOR = 16
"""How many bytes `leading_letters` looks at, and how many numbers `smallest`."""


@instruction
def load_8_bytes(data: Bytes, index: int) -> np.uint64:
    """data[index : index + 8] as a little-endian number."""
    raise NotImplementedError


@instruction
def leading_letters(data: Bytes, index: int) -> int:
    """How many of data[index : index + 16] are ASCII letters before the first that is none."""
    raise NotImplementedError


@instruction
def bytes_between(data: Bytes, index: int, fold: int, low: int, high: int) -> np.uint64:
    """64 bits, the lowest for data[index]: which of data[index : index + 64], or-ed with `fold`, are low to high.

    `fold`, `low` and `high` must be constants.
    """
    raise NotImplementedError


@instruction
def trailing_zeros(bits: np.uint64) -> int:
    """The place of the lowest bit that is set, if there is one."""
    raise NotImplementedError


@instruction
def smallest(numbers: Ints, index: int) -> np.int32:
    """The smallest of the 32-bit numbers[index : index + 16]."""
    raise NotImplementedError


@instruction
def prefetch(rows: Any, row: int) -> int:
    """Start to bring a row of a table into the processor's cache; 0."""
    raise NotImplementedError
