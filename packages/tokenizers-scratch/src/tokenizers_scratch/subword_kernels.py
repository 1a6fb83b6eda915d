"""The kernels of WordPiece, Unigram and SentencePiece, if they work here and a job is worth loading them."""

from __future__ import annotations

import importlib
from typing import Any

from tokenizers_scratch.kernels.loading import LOADER


def kernels(name: str, seconds: float) -> Any | None:
    """The module of this name, for a job that takes plain Python so many seconds; None: let plain Python do it."""
    if LOADER._load(name, seconds):
        return importlib.import_module(f"tokenizers_scratch.kernels.{name}")
    return None
