"""The types of the arrays that kernels share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Ids: TypeAlias = NDArray[np.uint32]
Ints: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]

integer = cast("Callable[[Any], int]", np.int64)
"""A signed 64-bit number in a kernel. Python's `int` would keep unsigned numbers unsigned, and numba makes floating
point numbers of signed and unsigned ones together."""
