r"""Letter, number, white space or other, for every code point, as the installed `regex` has it.

One byte for each of the 0x110000 code points: of a text, only the parts that hold its scripts come into the
processor's cache. `regex` follows a newer Unicode than tiktoken and HF tokenizers; on every code point assigned in
Unicode 14 the three agree. The table is asked of `regex` once and then kept on disk, under the version of `regex`.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import regex

from tokenizers_scratch.kernels.disk import cache_directory

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes

OTHER, LETTER, NUMBER, WHITE = 0, 1, 2, 3

_CODE_POINTS = 0x110000
_EXPRESSIONS = {LETTER: r"\p{L}+", NUMBER: r"\p{N}+", WHITE: r"\s+"}


@cache
def class_table() -> Bytes:
    """The class of each code point; (0x110000,) uint8."""
    directory = cache_directory()
    path = directory / f"classes-regex-{regex.__version__}.bin" if directory else None
    if path is not None:
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if len(data) == _CODE_POINTS:
            return np.frombuffer(data, np.uint8)
    table = make_class_table()
    if path is not None:
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            unfinished.write_bytes(table.tobytes())
            os.replace(unfinished, path)
        except OSError:
            unfinished.unlink(missing_ok=True)
    return np.frombuffer(table.tobytes(), np.uint8)


def make_class_table() -> Bytes:
    """The table, asked of `regex`."""
    table = np.full(_CODE_POINTS, OTHER, np.uint8)
    characters = "".join(map(chr, range(_CODE_POINTS)))
    for kind, expression in _EXPRESSIONS.items():
        for match in regex.finditer(expression, characters):
            table[match.start() : match.end()] = kind
    return table
