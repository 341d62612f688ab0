import pytest

from serving.access.roles import Role
from serving.errors import InvalidInput, Unavailable
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.method_table import UnaryMethod, parse

MEBIBYTE = 1 << 20


async def nobody(request, call):
    raise NotImplementedError


METHOD = UnaryMethod(path="/a.B/C", request_type=PredictRequest, handler=nobody, role=Role.PREDICT)


def message(count: int) -> bytes:
    request = PredictRequest()
    request.inputs["x"].int64_val.extend([1] * count)
    return request.SerializeToString()


def test_a_large_message_counts_as_what_it_becomes():
    """A large parsed message counts with its size in memory: small integers take 8 bytes each.

    Small messages are not measured.
    """
    budget = ByteBudget(32 * MEBIBYTE)
    hold = Hold(budget)

    parse(METHOD, message(MEBIBYTE // 2), hold)
    assert budget.used == 0
    request = parse(METHOD, message(2 * MEBIBYTE), hold)
    assert len(request.inputs["x"].int64_val) == 2 * MEBIBYTE
    assert 16 * MEBIBYTE <= budget.used <= 17 * MEBIBYTE
    with pytest.raises(Unavailable):
        parse(METHOD, message(2 * MEBIBYTE), Hold(budget))
    with pytest.raises(InvalidInput, match="--max_buffered_bytes"):
        parse(METHOD, message(5 * MEBIBYTE), hold)


def test_bytes_that_are_not_the_message_are_refused():
    """The error has the number of bytes and the expected message type."""
    with pytest.raises(InvalidInput, match=r"3 bytes is not a tensorflow\.serving\.PredictRequest"):
        parse(METHOD, b"\xff\xff\xff")
