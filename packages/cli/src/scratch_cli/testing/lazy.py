"""A module that is imported when something of it is first used.

The kit must be importable, and must check tokenizers and tasks, where torch is not installed. In a file that needs it:

    if TYPE_CHECKING:
        import torch
    else:
        torch = lazy("torch")
"""

from __future__ import annotations

import importlib
from typing import Any


class lazy:
    """Stands for the module of this name; getting an attribute imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
