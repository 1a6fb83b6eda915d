"""The kernels of WordPiece, Unigram and SentencePiece, if they work here and a job is worth loading them."""

from __future__ import annotations

from typing import Any

from tokenizers_scratch.kernels.loading import LOADER


def kernels(name: str, seconds: float) -> Any | None:
    """The module of this name, for a job that takes plain Python so many seconds; None: let plain Python do it."""
    return LOADER.module(name, seconds)
