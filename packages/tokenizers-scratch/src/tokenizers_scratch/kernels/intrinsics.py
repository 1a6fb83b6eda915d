"""The instructions of `machine.py` in LLVM's code, for any processor. Imported only to compile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from tokenizers_scratch.kernels.machine import BLOCK, VECTOR

_instruction = cast("Callable[[Any], Callable[..., Any]]", intrinsic(prefer_literal=True))


def _value_at(context: Any, builder: Any, signature: Any, arguments: Any, kind: Any) -> Any:
    """Load a value of the LLVM type `kind` from any place of an array."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    pointer = builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())
    return builder.load(pointer, align=1)


def _function(builder: Any, kind: Any, name: str) -> Any:
    """A function that LLVM has itself."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


@_instruction
def load_8_bytes(typing: Any, data: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = _value_at(context, builder, signature, arguments, ir.IntType(64))
        return word if sys.byteorder == "little" else builder.bswap(word)

    return types.uint64(data, index), generate


@_instruction
def leading_letters(typing: Any, data: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), VECTOR)
        letters = _value_at(context, builder, signature, arguments, vector)
        lower = builder.or_(letters, ir.Constant(vector, [0x20] * VECTOR))
        place = builder.sub(lower, ir.Constant(vector, [ord("a")] * VECTOR))
        no_letter = builder.icmp_unsigned(">=", place, ir.Constant(vector, [26] * VECTOR))
        bits = builder.zext(builder.bitcast(no_letter, ir.IntType(VECTOR)), ir.IntType(64))
        stopped = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << VECTOR))
        return builder.cttz(stopped, ir.Constant(ir.IntType(1), 1))

    return types.int64(data, index), generate


@_instruction
def smallest(typing: Any, numbers: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), VECTOR)
        reduction = ir.FunctionType(ir.IntType(32), [vector])
        function = _function(builder, reduction, f"llvm.vector.reduce.smin.v{VECTOR}i32")
        return builder.call(function, [_value_at(context, builder, signature, arguments, vector)])

    return types.int32(numbers, index), generate


@_instruction
def bytes_between(typing: Any, data: Any, index: Any, fold: Any, low: Any, high: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), BLOCK)
        fold, low, high = (ir.Constant(vector, [value.literal_value] * BLOCK) for value in signature.args[2:])
        place = builder.sub(builder.or_(_value_at(context, builder, signature, arguments, vector), fold), low)
        found = builder.icmp_unsigned("<=", place, builder.sub(high, low))
        return builder.bitcast(found, ir.IntType(BLOCK))

    return types.uint64(data, index, fold, low, high), generate


@_instruction
def trailing_zeros(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_instruction
def prefetch(typing: Any, rows: Any, row: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table = context.make_array(signature.args[0])(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        columns = builder.extract_value(table.shape, 1) if signature.args[0].ndim == 2 else ir.Constant(index.type, 1)
        first = builder.mul(index, columns)
        number = ir.IntType(32)
        address = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        function = _function(builder, kind, "llvm.prefetch.p0")
        reading, often, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(function, [builder.bitcast(builder.gep(table.data, [first]), address), reading, often, data])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(rows, row), generate
