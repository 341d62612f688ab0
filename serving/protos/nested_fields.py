"""Find the positions of fields in serialized messages, which protobuf's own readers do not give."""

from collections.abc import Iterable

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LAST_SHIFT = 63  # the shift of the tenth byte, which is the last of a 64-bit number
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
# Reading a field takes a third of a microsecond.
_MAX_FIELDS = 100_000


def find_nested(message: bytes, path: Iterable[int]) -> tuple[int, int] | None:
    """Find the start and end of a field inside nested messages.

    The time grows with the number of fields, not with their sizes.

    Args:
        message: The serialized message.
        path: Field numbers from the outermost message to the field. All must be fields of messages,
            strings or bytes. If a message repeats a field, the last one counts, as in protobuf.

    Returns:
        The positions of the content's first byte and behind its last byte; None if the message has
        no such field, the bytes are not a message, or a message has over 100,000 fields.
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
    except (IndexError, KeyError):  # the message is cut off, or has a group
        return None
    return found if position == end else None


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Read a varint; return its value and the position behind it.

    Raises:
        IndexError: the varint is cut off, or has more than ten bytes.
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
