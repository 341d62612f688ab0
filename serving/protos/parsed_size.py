"""Estimate the memory that a parsed protobuf message takes, without parsing the message.

A number of one byte on the wire takes eight bytes in a parsed list, and an empty string sixteen: if
a budget counted only the bytes on the wire, the memory could be many times the budget.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from serving.protos.nested_fields import read_varint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
# Bytes of an element in a parsed list, by protobuf's C++ type. Elements of the other types take as
# many bytes as on the wire.
_ELEMENT_BYTES = {
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
    FieldDescriptor.CPPTYPE_INT64: 8,
    FieldDescriptor.CPPTYPE_UINT64: 8,
}
_TEXT_BYTES = 16  # what a string or message in a list takes in addition to its content
# Reading a field takes a third of a microsecond. If a message has more fields than this, the rest
# counts as empty strings, which take the most memory: two bytes on the wire each.
_MAX_FIELDS = 100_000
_WORST = _TEXT_BYTES // 2


def parsed_bytes(message: bytes, message_type: Descriptor) -> int:
    """Estimate how many bytes a message takes once it is parsed; at least its bytes on the wire.

    Args:
        message: The serialized message.
        message_type: Type of the message. Unknown fields count with their bytes on the wire.
    """
    survey = _Survey(message)
    survey.walk(0, len(message), message_type)
    return max(len(message), survey.total)


class _Survey:
    """Adds up the parsed sizes of a message's fields.

    Attributes:
        total: Sum so far, in bytes.
    """

    def __init__(self, message: bytes) -> None:
        self.total = 0
        self._message = message
        self._fields = 0

    def walk(self, position: int, end: int, message_type: Descriptor) -> None:
        """Count the fields between two positions; a malformed rest counts with its wire bytes."""
        message, fields = self._message, message_type.fields_by_number
        while position < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                self.total += _WORST * (end - position)
                return
            try:
                tag, position = read_varint(message, position)
                wire_type = tag & 7
                if wire_type == _VARINT:
                    _, position = read_varint(message, position)
                    self.total += 8
                    continue
                if wire_type != _BYTES:
                    position += _FIXED_BYTES[wire_type]
                    self.total += 8
                    continue
                length, position = read_varint(message, position)
            except (IndexError, KeyError):
                self.total += end - position
                return
            field = fields.get(tag >> 3)
            self._count(field, position, min(position + length, end))
            position += length

    def _count(self, field: FieldDescriptor | None, position: int, end: int) -> None:
        length = end - position
        self.total += _TEXT_BYTES
        if field is None:
            self.total += length
        elif field.message_type is not None:
            self.walk(position, end, field.message_type)
        elif field.cpp_type in _ELEMENT_BYTES:
            self.total += length * _ELEMENT_BYTES[field.cpp_type]
        else:
            self.total += length
