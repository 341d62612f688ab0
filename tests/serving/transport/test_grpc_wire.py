"""Tests of gRPC inside HTTP: status messages and timeouts in headers, messages in bodies."""

import asyncio
from urllib.parse import unquote

import pytest

from serving.errors import InvalidInput, ResourceExhausted, StatusCode, Unsupported
from serving.transport import grpc_wire
from serving.transport.asgi import Disconnected
from serving.transport.limits.byte_budget import ByteBudget, Hold


@pytest.mark.parametrize(
    "message", ["ends in space ", " begins", " ", "  both  ", "100 %", "%20", "grün\n", ""]
)
def test_status_messages_fit_into_headers(message):
    """A message is percent-encoded into one header value and decodes to the same text."""
    headers = dict(grpc_wire.status_headers(StatusCode.INTERNAL, message))

    encoded = headers[b"grpc-message"]
    assert encoded == encoded.strip()
    assert encoded.isascii()
    assert b"\n" not in encoded
    assert unquote(encoded.decode()) == message


def test_a_timeout_header_is_parsed_without_a_server():
    """`deadline` refuses a malformed grpc-timeout and returns None without the header."""
    assert grpc_wire.deadline({}) is None
    with pytest.raises(InvalidInput, match="grpc-timeout is '5', expected 1 to 8 digits"):
        grpc_wire.deadline({b"grpc-timeout": b"5"})


def read(events, budget: ByteBudget, most: int = 1 << 20) -> tuple[bytes, list[int]]:
    """Read the only message of a body; return it, and the bytes counted before each event."""
    coming, counted = iter(events), []

    async def receive():
        counted.append(budget.used)
        return next(coming)

    hold = Hold(budget, "client")
    try:
        message = asyncio.run(grpc_wire.read_only_message(receive, {}, most, hold, "/s/M"))
    finally:
        hold.release()
    return message, counted


def piece(body: bytes, *, more: bool = True) -> dict[str, object]:
    """Return ASGI's event for a piece of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


END = {"type": "http.request"}  # as h2corn ends a body


@pytest.mark.parametrize(
    ("waiting", "size", "counted"), [(0, 4096, 0), (0, 4097, 4102), (2048, 4096, 4101)]
)
def test_a_small_message_does_not_count_until_many_wait_for_their_ends(waiting, size, counted):
    """A message of 4 KiB counts while its end is awaited only if 2048 others wait for theirs."""
    budget = ByteBudget(1 << 20)
    budget.uncounted = waiting

    message, used = read([piece(grpc_wire.frame(b"m" * size)), END], budget)

    assert message == b"m" * size
    assert used == [0, counted]
    assert (budget.used, budget.uncounted) == (0, waiting)


def test_a_small_message_counts_once_more_than_its_end_follows():
    """Bytes after a whole small message count with it, and the call is refused."""
    budget = ByteBudget(1 << 20)
    events = [piece(grpc_wire.frame(b"one")), piece(grpc_wire.frame(b"two")), END]

    with pytest.raises(Unsupported, match="/s/M takes exactly one request message, received more"):
        read(events, budget)

    assert (budget.used, budget.uncounted) == (0, 0)


def test_a_client_that_goes_before_the_end_of_its_body_is_gone():
    """A call whose client disconnects between message and end is not answered."""
    budget = ByteBudget(1 << 20)

    with pytest.raises(Disconnected):
        read([piece(grpc_wire.frame(b"one")), {"type": "http.disconnect"}], budget)

    assert (budget.used, budget.uncounted) == (0, 0)


@pytest.mark.parametrize("events", [[piece(b"", more=False)], [piece(b"\0\0"), END]])
def test_a_body_without_a_whole_prefix_is_refused(events):
    """An empty body has no message, and a body that ends inside the prefix is cut off."""
    with pytest.raises((Unsupported, InvalidInput)):
        read(events, ByteBudget(1 << 20))


def test_a_small_message_over_the_limit_is_refused():
    """The size limit holds for messages that need no reader, too."""
    with pytest.raises(ResourceExhausted, match="request message has 9 bytes, expected at most 8"):
        read([piece(grpc_wire.frame(b"m" * 9)), END], ByteBudget(1 << 20), most=8)
