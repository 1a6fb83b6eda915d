"""For hostile text: whatever could run it fails."""

from __future__ import annotations

import builtins
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Whatever could run text fails inside."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("text was executed")

    with pytest.MonkeyPatch.context() as patch:
        for holder, names in ((builtins, ("eval", "exec", "compile")), (os, ("system", "popen"))):
            for name in names:
                patch.setattr(holder, name, never)
        patch.setattr(subprocess, "Popen", never)
        yield
