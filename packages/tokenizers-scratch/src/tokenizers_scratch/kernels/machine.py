"""The few instructions that Python has no word for, as numba intrinsics: LLVM code for any processor.

All of them read up to 16 bytes beyond the place they are asked about, so texts are followed by `PADDING` zero bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from tokenizers_scratch.kernels.arrays import Bytes

PADDING = 32
"""Zero bytes behind every text. They also end every letter, number and contraction."""

VECTOR = 16
"""How many bytes `leading_letters` looks at."""


_instruction = cast("Callable[[Any], Callable[[Bytes, int], Any]]", intrinsic)


def _bytes_at(context: Any, builder: Any, signature: Any, arguments: Any, kind: Any) -> Any:
    """Load a value of the LLVM type `kind` from any place of an array of bytes."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    pointer = builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())
    return builder.load(pointer, align=1)


@_instruction
def load_8_bytes(typing: Any, data: Any, index: Any) -> Any:
    """data[index : index + 8] as a little-endian number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = _bytes_at(context, builder, signature, arguments, ir.IntType(64))
        return word if sys.byteorder == "little" else builder.bswap(word)

    return types.uint64(data, index), generate


@_instruction
def leading_letters(typing: Any, data: Any, index: Any) -> Any:
    """How many of data[index : index + 16] are ASCII letters before the first that is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), VECTOR)
        letters = _bytes_at(context, builder, signature, arguments, vector)
        lower = builder.or_(letters, ir.Constant(vector, [0x20] * VECTOR))
        place = builder.sub(lower, ir.Constant(vector, [ord("a")] * VECTOR))
        no_letter = builder.icmp_unsigned(">=", place, ir.Constant(vector, [26] * VECTOR))
        bits = builder.zext(builder.bitcast(no_letter, ir.IntType(VECTOR)), ir.IntType(64))
        stopped = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << VECTOR))
        return builder.cttz(stopped, ir.Constant(ir.IntType(1), 1))

    return types.int64(data, index), generate
