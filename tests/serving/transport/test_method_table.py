import pytest

from serving.errors import InvalidInput, Unavailable
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.method_table import UnaryMethod, parse

MEBIBYTE = 1 << 20


async def nobody(request, call):
    raise NotImplementedError


METHOD = UnaryMethod(path="/a.B/C", request_type=PredictRequest, handler=nobody)


def message(count: int) -> bytes:
    request = PredictRequest()
    request.inputs["x"].int64_val.extend([1] * count)
    return request.SerializeToString()


def test_a_large_message_counts_as_what_it_becomes():
    """Numbers of a byte take eight once they are parsed; small messages are not looked at."""
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


def test_what_is_no_message_is_named():
    """With its size and the message that was expected."""
    with pytest.raises(InvalidInput, match=r"3 bytes is not a tensorflow\.serving\.PredictRequest"):
        parse(METHOD, b"\xff\xff\xff")
