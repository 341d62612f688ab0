"""Positions of fields in serialized messages, which protobuf's own readers do not tell."""

from collections.abc import Iterable

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LAST_SHIFT = 63  # of the tenth byte, the last that a 64-bit number has
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
# A look at each takes a third of a microsecond.
_MAX_FIELDS = 100_000


def find_nested(message: bytes, path: Iterable[int]) -> tuple[int, int] | None:
    """Where a field of a message in a message begins and ends.

    The time it takes grows with the number of fields, not with their sizes.

    Args:
        message: Serialized.
        path: Field numbers from the outside to the inside, all of messages, strings or bytes. Of
            several fields with the number, the last one counts, as it does for protobuf.

    Returns:
        None if the field is not there, the bytes are no message, or a message has more fields than
        there is time to look at.
    """
    start, end = 0, len(message)
    for number in path:
        found = _find(message, start, end, number)
        if found is None:
            return None
        start, end = found
    return start, end


def _find(message: bytes, position: int, end: int, number: int) -> tuple[int, int] | None:
    found = None
    fields = 0
    try:
        while position < end:
            fields += 1
            if fields > _MAX_FIELDS:
                return None
            tag, position = read_varint(message, position)
            wire_type = tag & 7
            if wire_type == _VARINT:
                _, position = read_varint(message, position)
            elif wire_type == _BYTES:
                length, position = read_varint(message, position)
                if tag >> 3 == number:
                    found = position, position + length
                position += length
            else:
                position += _FIXED_BYTES[wire_type]
    except (IndexError, KeyError):  # cut off, or a group
        return None
    return found if position == end else None


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """A number, and the position behind it.

    Raises:
        IndexError: it is cut off, or longer than numbers are.
    """
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _LAST_SHIFT:
            raise IndexError
