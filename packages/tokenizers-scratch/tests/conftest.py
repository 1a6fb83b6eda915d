"""How many examples the properties of tokenizers are tried on: SCRATCH_EXAMPLES, 1,000 unless that is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "toys"))  # what several files of tests share

# Registered, not loaded: tests take it by name, so that those of other packages in the same run keep their own.
settings.register_profile(
    "tokenizers", deadline=None, derandomize=True, max_examples=int(os.environ.get("SCRATCH_EXAMPLES", "1000"))
)
