"""A config whose module imports something heavy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class HeavyConfig:
    n: int = int(np.int64(1))
