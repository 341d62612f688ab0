import pytest

from serving.protos.nested_fields import find_nested
from serving.protos.tensorflow_pb2 import TensorProto
from serving.protos.tensorflow_serving_pb2 import PredictRequest

PATH = (2, 2, 4)


def request(content: bytes) -> bytes:
    message = PredictRequest(output_filter=["y", content.decode()])
    message.model_spec.name = content.decode()
    message.model_spec.version.value = 7
    tensor = TensorProto(dtype=3, tensor_content=content, float_val=[1, 2], version_number=300)
    message.inputs["x"].CopyFrom(tensor)
    return message.SerializeToString()


@pytest.mark.parametrize("content", [b"", b"a", b"abc" * 100])
def test_a_field_is_found_where_it_is(content):
    """The field is found at its path; the same bytes in other fields are not."""
    message = request(content)
    found = find_nested(message, PATH)

    if not content:
        assert found is None
        return
    assert found is not None
    start, end = found
    assert message[start:end] == content
    changed = message[:start] + content.swapcase() + message[end:]
    assert PredictRequest.FromString(changed).inputs["x"].tensor_content == content.swapcase()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        request(b"abc")[:-1],
        b"\x12",
        b"\x12\x05abc",
        b"\x13\x14",
        b"\x09\x00",
        b"\xff" * 1000,
        b"\x80" * 10 + b"\x01",
    ],
)
def test_malformed_messages_have_no_field(message):
    """Truncated messages, groups and varints without an end give None."""
    assert find_nested(message, PATH) is None


def test_fields_of_every_wire_type_are_passed_over():
    """Other fields are skipped: varints of 1 to 10 bytes, and numbers of 4 and 8 bytes."""
    others = b"\x08\x01" + b"\x08" + b"\xff" * 9 + b"\x01" + b"\x0d1234" + b"\x0912345678"

    assert find_nested(others + b"\x12\x01a" + others, (2,)) == (len(others) + 2, len(others) + 3)


def test_a_message_of_very_many_fields_is_not_searched():
    """A message with more than 100,000 fields is not searched: that would take too long."""
    few, many = (b"\x1a\x00" * count + b"\x0a\x01x" for count in (99_999, 100_000))

    assert find_nested(few, (1,)) == (len(few) - 1, len(few))
    assert find_nested(many, (1,)) is None
