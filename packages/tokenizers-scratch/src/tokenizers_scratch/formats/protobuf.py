"""The protobuf wire format, as much as sentencepiece's files need: fields of one message, read within bounds.

Source: protobuf.dev, "Encoding". A message is a run of fields; a field is a varint (number * 8 + wire type) and a
value: type 0 a varint, 1 eight bytes, 2 a length and so many bytes, 5 four bytes. Groups (3 and 4) are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10

Field = tuple[int, int, int | bytes]
"""Number, wire type, and the value: an integer of a varint, else its bytes."""


def read_fields(data: bytes, what: str = "the message") -> Iterator[Field]:
    """The fields of a message. Raises ValueError, naming the byte, for what is cut off or no field."""
    place = 0
    while place < len(data):
        start = place
        tag, place = _read_varint(data, place, what)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise ValueError(f"{what} has a field numbered {number} at byte {start}")
        if wire_type == VARINT:
            value, place = _read_varint(data, place, what)
            yield number, wire_type, value
            continue
        if wire_type == LENGTH:
            size, place = _read_varint(data, place, what)
        elif wire_type in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if wire_type == EIGHT_BYTES else 4
        else:
            raise ValueError(f"{what} has a field of unknown type {wire_type} at byte {start}")
        if size > len(data) - place:
            raise ValueError(f"{what} is cut off: field {number} at byte {start} has {size} bytes")
        yield number, wire_type, data[place : place + size]
        place += size


def _read_varint(data: bytes, place: int, what: str) -> tuple[int, int]:
    value = 0
    for i in range(_LONGEST_VARINT):
        if place + i >= len(data):
            raise ValueError(f"{what} is cut off in the number at byte {place}")
        value |= (data[place + i] & 0x7F) << (7 * i)
        if data[place + i] < 0x80:
            if value >= 2**64:
                break
            return value, place + i + 1
    raise ValueError(f"{what} has a number of more than 64 bits at byte {place}")


def signed(value: int) -> int:
    """A varint of type int32 or int64: negative numbers are written as 64-bit two's complement."""
    return value - 2**64 if value >= 2**63 else value


def varint(value: int) -> bytes:
    """The bytes of a varint."""
    value &= 2**64 - 1
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def write_int(number: int, value: int) -> bytes:
    """A field with an integer, a bool or a value of an enum."""
    return varint(number << 3 | VARINT) + varint(value)


def write_bytes(number: int, value: bytes) -> bytes:
    """A field with bytes, a text in UTF-8 or a message."""
    return varint(number << 3 | LENGTH) + varint(len(value)) + value


def write_float(number: int, value: float) -> bytes:
    """A field with a 32-bit float."""
    return varint(number << 3 | FOUR_BYTES) + struct.pack("<f", value)
