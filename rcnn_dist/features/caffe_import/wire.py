"""Protocol Buffers on the wire, as far as Caffe's files use them: a message is a row of numbered fields."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of every field of a message, in order: an integer for a varint, else the field's bytes.

    Raises:
        ValueError: the bytes are no message, or end inside a field.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise ValueError(f"field {number} of wire type {kind} at byte {position}")
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        size = 8 if kind == FIXED64 else 4
        if kind == BYTES:
            size, position = _varint(message, position)
        if position + size > len(message):
            raise ValueError(f"field {number} ends {position + size - len(message)} bytes after the end")
        yield number, message[position : position + size]
        position += size


def read_varints(data: memoryview) -> list[int]:
    """The integers of a packed field.

    Raises:
        ValueError: the bytes end inside an integer.
    """
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(value)
    return values


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """The integer at a place, seven bits per byte from the lowest on, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number of more than ten bytes at byte {position}")
