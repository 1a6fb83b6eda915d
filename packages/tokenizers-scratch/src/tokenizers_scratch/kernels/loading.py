"""Whether a job is worth loading the kernels for, and what happens where they do not work.

Loading kernels takes more time than plain Python needs for a small job, and compiling them, once a machine, far more.
So a caller says how long plain Python would take, and kernels are loaded if they would save more than they cost. The
ids are the same either way. `TOKENIZERS_SCRATCH_KERNELS=always` or `never` decides it for all jobs.

Imports neither numba nor numpy; where they do not work, one warning says so, and plain Python does all jobs.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

from tokenizers_scratch.kernels.disk import is_compiled

if TYPE_CHECKING:
    from types import ModuleType

    from tokenizers_scratch.kernels import encoder, trainer

VARIABLE = "TOKENIZERS_SCRATCH_KERNELS"

START_SECONDS = 0.02
"""What it takes to set up a vocabulary or a training for kernels that are loaded; about, on a common machine."""

LOAD_SECONDS = 0.15
"""What loading kernels takes that are on disk."""

COMPILE_SECONDS = 6.0
"""The same where they have to be compiled first. It is spent once, so a job need not be worth all of it."""


class Loader:
    """Loads the kernels when they are worth it, once; and remembers that they do not work, and says it, once."""

    def __init__(self) -> None:
        self.failed = False
        self._loaded: set[str] = set()

    def encoder(self, seconds: float) -> type[encoder.Encoder] | None:
        """Encoding by kernels, if it works and is worth it for a job that takes plain Python so many seconds."""
        module = self.module("encoder", seconds)
        return module.Encoder if module else None

    def trainer(self, seconds: float) -> type[trainer.Trainer] | None:
        """Training by kernels, on the same terms."""
        module = self.module("trainer", seconds)
        return module.Trainer if module else None

    def module(self, name: str, seconds: float) -> ModuleType | None:
        """The module of this name in this folder, ready to be called, on the same terms."""
        if self.failed or not self._is_worth_it(name, seconds):
            return None
        full_name = f"tokenizers_scratch.kernels.{name}"
        try:
            module = importlib.import_module(full_name)
            if name not in self._loaded:
                module.prepare()
        except Exception as error:  # a broken compiler shows itself in many ways
            self.failed = True
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(
                f"numba does not work here ({reason}): tokenizers run in plain Python, with the same ids, only slower",
                RuntimeWarning,
                stacklevel=3,
            )
            return None
        self._loaded.add(name)
        return module

    def _is_worth_it(self, name: str, seconds: float) -> bool:
        mode = os.environ.get(VARIABLE, "auto")
        if mode not in ("auto", "always", "never"):
            raise ValueError(f"{VARIABLE}: got {mode!r}, must be auto, always or never: nothing else is known")
        if mode == "never" or (mode == "auto" and seconds < START_SECONDS):
            return False
        if name in self._loaded:
            return True
        if mode == "auto" and seconds < LOAD_SECONDS:
            return False
        return mode == "always" or seconds >= COMPILE_SECONDS / 3 or is_compiled(name)


LOADER = Loader()
"""The one of this process, for machine code is loaded once a process."""
