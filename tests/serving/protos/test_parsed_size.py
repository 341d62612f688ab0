import numpy as np
import pytest

from serving.protos.parsed_size import parsed_bytes
from serving.protos.tensorflow_pb2 import TensorProto
from serving.protos.tensorflow_serving_pb2 import PredictRequest

MEBIBYTE = 1 << 20


def request(**fields) -> PredictRequest:
    made = PredictRequest()
    made.model_spec.name = "m"
    made.inputs["x"].CopyFrom(TensorProto(**fields))
    return made


def size(message: PredictRequest | bytes) -> tuple[int, int]:
    serialized = message if isinstance(message, bytes) else message.SerializeToString()
    return len(serialized), parsed_bytes(serialized, PredictRequest.DESCRIPTOR)


@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        pytest.param({"tensor_content": bytes(MEBIBYTE)}, 1, 1.01, id="content"),
        pytest.param({"float_val": np.ones(MEBIBYTE // 4)}, 1, 1.01, id="floats"),
        pytest.param({"int64_val": [1] * MEBIBYTE}, 7.9, 8.01, id="small integers"),
        pytest.param({"int_val": [1] * MEBIBYTE}, 3.9, 4.01, id="small 32-bit integers"),
        pytest.param({"bool_val": [True] * MEBIBYTE}, 1, 1.01, id="booleans"),
        pytest.param({"string_val": [b""] * 50_000}, 7.9, 9, id="empty strings"),
        pytest.param({"string_val": [b""] * 500_000}, 7.9, 9, id="many empty strings"),
        pytest.param({"string_val": [bytes(10_000)] * 100}, 1, 1.01, id="long strings"),
    ],
)
def test_a_message_takes_what_its_lists_take(fields, least, most):
    """Contents count as sent; small integers and strings take more memory than bytes sent."""
    wire, parsed = size(request(**fields))

    assert least <= parsed / wire <= most


def test_numbers_one_by_one_count_as_in_a_list():
    """Unpacked lists, with a tag for each number, are counted like packed ones."""
    inner = b"\x50\x01" * 50_000  # int64_val, field 10, as a varint
    entry = b"\x0a\x01x\x12" + varint(len(inner)) + inner
    wire, parsed = size(b"\x12" + varint(len(entry)) + entry)

    assert parsed >= 4 * 50_000 * 2
    assert PredictRequest.FromString(b"\x12" + varint(len(entry)) + entry).inputs["x"].int64_val
    assert parsed > wire


@pytest.mark.parametrize(
    "message",
    [b"", b"\xff" * 20, b"\x12\xff\xff\x03", b"\x0b", b"\x12\x05abc", bytes(range(256)) * 10],
)
def test_malformed_messages_are_counted_without_an_error(message):
    """A malformed message counts at least its own length; the parser reports the error later."""
    wire, parsed = size(message)

    assert wire <= parsed <= 20 * (wire + 1)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)
