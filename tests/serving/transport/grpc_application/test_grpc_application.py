import asyncio
import time

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from running.shouting_application import (
    CALLS,
    MAX_BUFFERED_BYTES,
    answers,
    call,
    call_at_once,
    frame,
    shout,
    status,
)

from serving.access.roles import Role
from serving.errors import StatusCode
from serving.transport import grpc_application
from serving.transport.method_table import UnaryMethod, method_table


@pytest.mark.parametrize(
    "chunks",
    [
        [frame("hello")],
        [frame("hello"), b""],
        [bytes([byte]) for byte in frame("hello")],
        [b"", frame("hello")[:7], frame("hello")[7:]],
    ],
    ids=["whole", "late end", "byte by byte", "in pieces"],
)
def test_a_request_may_arrive_in_any_pieces(application, chunks):
    """A message in any number of chunks is read: HTTP/2 may cut bodies anywhere."""
    events = call(application, chunks)

    assert answers(events) == ["HELLO"]
    assert status(events) == (StatusCode.OK, "")
    assert events[0]["trailers"] is True


@pytest.mark.parametrize(
    ("chunks", "code", "message"),
    [
        (
            [b""],
            StatusCode.UNIMPLEMENTED,
            "/s/Shout takes exactly one request message, received none",
        ),
        ([frame("a") + frame("b")], StatusCode.UNIMPLEMENTED, "received more"),
        ([frame("a"), frame("b")], StatusCode.UNIMPLEMENTED, "received more"),
        ([b"\0\0\0"], StatusCode.INVALID_ARGUMENT, "ends inside a message prefix: 3 of 5 bytes"),
        (
            [frame("hello")[:-1]],
            StatusCode.INVALID_ARGUMENT,
            "request message announces 7 bytes, but 6 arrived",
        ),
        (
            [b"\0\0\0\x03\xe9", b"never read"],
            StatusCode.RESOURCE_EXHAUSTED,
            "request message has 1001 bytes, expected at most 1000",
        ),
        ([b"\x02" + frame("a")[1:]], StatusCode.INVALID_ARGUMENT, "flag 2, expected 0 or 1"),
        (
            [b"\0\0\0\0\x01\xff"],
            StatusCode.INVALID_ARGUMENT,
            "is not a google.protobuf.StringValue",
        ),
    ],
)
def test_malformed_bodies_are_refused(application, chunks, code, message):
    """Every way to break the framing has a status and a message of its own."""
    answered = status(call(application, chunks))

    assert answered[0] == code
    assert message in answered[1]


def test_bugs_are_logged_and_not_shown(application, caplog):
    """An unexpected exception is answered INTERNAL without its text, and logged with it."""
    events = call(application, [frame("bug")])

    assert status(events) == (StatusCode.INTERNAL, "internal error")
    assert "unexpected error in /s/Shout" in caplog.text
    assert "RuntimeError: secret" in caplog.text


def test_a_client_that_goes_away_is_not_answered(application):
    """A stream that is reset before its message is complete gets no answer."""
    events = call(application, [frame("hello")[:4], b""], goes_away=True)

    assert events == []


def test_large_requests_share_a_budget(application):
    """Requests share the byte budget; a refused request takes nothing from it."""
    body = frame("x" * 600)

    two = call_at_once(application, 2, body)
    budget = application._budget
    left_after_two = budget.used
    budget.used = MAX_BUFFERED_BYTES - 100
    (refused,) = call_at_once(application, 1, body)
    left_after_refusal = budget.used

    assert [status(events)[0] for events in two] == [StatusCode.OK, StatusCode.OK]
    assert left_after_two == 0
    assert status(refused)[0] == StatusCode.UNAVAILABLE
    assert (
        "requests in flight hold 1400 bytes of at most 1500, those of this client 0; "
        in status(refused)[1]
    )
    assert left_after_refusal == MAX_BUFFERED_BYTES - 100


def test_streams_answer_request_by_request(application):
    """Messages of one stream may share a chunk or span several."""
    body = frame("a") + frame("b") + frame("c")

    events = call(application, [body[:9], body[9:]], path="/s/ShoutEach")

    assert answers(events) == ["A", "B", "C"]
    assert status(events) == (StatusCode.OK, "")


def test_errors_in_a_stream_come_in_its_trailers(application):
    """An error ends a stream in its trailers, after the answers before it."""
    events = call(application, [frame("a"), b"\0\0\0\0\x01\xff"], path="/s/ShoutEach")

    assert answers(events) == ["A"]
    assert status(events)[0] == StatusCode.INVALID_ARGUMENT
    assert events[-1]["type"] == "http.response.trailers"


def test_a_stream_over_the_budget_is_told_so(application):
    """A stream over the byte budget ends with UNAVAILABLE, after the answers before it.

    Further messages may arrive after the refusal.
    """
    application._budget.used = MAX_BUFFERED_BYTES - 100
    pieces = [frame("a"), frame("x" * 200), frame("y" * 200), frame("z" * 200)]

    events = call(application, pieces, path="/s/ShoutEach")

    assert answers(events) == ["A"]
    assert status(events)[0] == StatusCode.UNAVAILABLE


def test_a_bug_while_a_stream_is_read_is_answered(application, monkeypatch):
    """A bug while a stream is read is answered INTERNAL in its trailers."""

    def parse(_method, _message):
        msg = "secret"
        raise RuntimeError(msg)

    monkeypatch.setattr(grpc_application, "parse", parse)

    events = call(application, [frame("a"), frame("b")], path="/s/ShoutEach")

    assert answers(events) == []
    assert status(events) == (StatusCode.INTERNAL, "internal error")


@pytest.mark.parametrize(
    ("header", "seconds"), [(b"2S", 2), (b"500m", 0.5), (b"1M", 60), (b"90000000u", 90)]
)
def test_grpc_timeout_becomes_a_deadline(application, header, seconds):
    """The header grpc-timeout reaches the handler as a deadline."""
    before = time.monotonic()

    call(application, [frame("a")], headers=[(b"grpc-timeout", header)])

    deadline = CALLS[-1].deadline
    assert before + seconds <= deadline <= time.monotonic() + seconds


@pytest.mark.parametrize("header", [b"", b"S", b"5", b"-1S", b"5 S", b"123456789S", b"1x"])
def test_a_malformed_timeout_is_refused(application, header):
    """A malformed grpc-timeout is INVALID_ARGUMENT."""
    events = call(application, [frame("a")], headers=[(b"grpc-timeout", header)])

    assert status(events)[0] == StatusCode.INVALID_ARGUMENT


def test_other_http_requests_go_to_the_other_application(application):
    """Requests that are not gRPC go to the HTTP application, which has no routes here."""
    sent = []

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "headers": []}
    asyncio.run(application(scope, None, send))

    assert sent[0]["status"] == 404
    assert (
        sent[1]["body"]
        == b'{\n    "error": "Not found: GET /x; the APIs are under /v1/ and /v2"\n}'
    )


def test_two_methods_cannot_share_a_path():
    """Two methods with one path are a ValueError."""
    method = UnaryMethod(path="/s/M", request_type=StringValue, handler=shout, role=Role.PREDICT)

    with pytest.raises(ValueError, match="two methods have the path /s/M"):
        method_table([method, method])
