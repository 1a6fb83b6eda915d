"""The command `tokenize`, for `scratch` and for `python -m tokenizers_scratch`.

Needs click and rich, which the extra `cli` installs; without them no module here can be imported, and the error says
what to do.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar


class MissingExtraError(ModuleNotFoundError):
    """A library that only the commands need is not installed."""

    exit_code: ClassVar[int] = 4


for _name in ("click", "rich"):
    if find_spec(_name) is None:
        raise MissingExtraError(
            f"the command tokenize needs {_name}: pip install 'tokenizers-scratch[cli]'", name=_name
        )
