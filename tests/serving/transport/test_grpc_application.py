import asyncio
import gzip
import time
import zlib
from urllib.parse import unquote

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from serving.access.roles import Role
from serving.errors import InvalidInput, StatusCode
from serving.transport import grpc_application, grpc_wire
from serving.transport.grpc_application import GrpcApplication
from serving.transport.http_application import HttpApplication
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.limits.unread_answers import UnreadAnswers
from serving.transport.method_table import Call, StreamMethod, UnaryMethod, method_table

MAX_MESSAGE_BYTES = 1000
MAX_BUFFERED_BYTES = 1500
CALLS: list[Call] = []


async def shout(request: StringValue, call: Call) -> StringValue:
    CALLS.append(call)
    if request.value == "bug":
        msg = "secret"
        raise RuntimeError(msg)
    return StringValue(value=request.value.upper())


async def shout_each(requests, call):
    async for request in requests:
        await asyncio.sleep(0.01)  # other requests run first, as they do while a model runs
        yield await shout(request, call)


@pytest.fixture
def application() -> GrpcApplication:
    """An application with one unary method and one stream method."""
    methods = method_table(
        [
            UnaryMethod(
                path="/s/Shout", request_type=StringValue, handler=shout, role=Role.PREDICT
            ),
            StreamMethod(
                path="/s/ShoutEach", request_type=StringValue, handler=shout_each, role=Role.PREDICT
            ),
        ]
    )
    budget = ByteBudget(MAX_BUFFERED_BYTES)
    unread = UnreadAnswers(MAX_MESSAGE_BYTES)
    http = HttpApplication([], max_body_bytes=MAX_MESSAGE_BYTES, budget=budget, unread=unread)
    return GrpcApplication(
        methods, http, max_message_bytes=MAX_MESSAGE_BYTES, budget=budget, unread=unread
    )


def frame(text: str) -> bytes:
    return grpc_wire.frame(StringValue(value=text).SerializeToString())


def call(application, chunks, path="/s/Shout", headers=(), *, goes_away=False):
    """Send a body in chunks; return the events that the application sent."""
    events = [
        {"type": "http.request", "body": chunk, "more_body": position < len(chunks) - 1}
        for position, chunk in enumerate(chunks)
    ]
    if goes_away:
        events[-1:] = [{"type": "http.disconnect"}]
    sent = []

    async def receive():
        if events:
            return events.pop(0)
        await asyncio.sleep(10)
        return {"type": "http.disconnect"}

    async def send(event):
        sent.append(event)

    scope = {
        "type": "http",
        "path": path,
        "headers": [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *headers],
    }
    asyncio.run(application(scope, receive, send))
    return sent


def status(events) -> tuple[int, str]:
    headers = {}
    for event in events:
        headers |= dict(event.get("headers", ()))
    return int(headers[b"grpc-status"]), headers.get(b"grpc-message", b"").decode()


def answers(events) -> list[str]:
    bodies = [event["body"] for event in events if event["type"] == "http.response.body"]
    return [StringValue.FromString(body[5:]).value for body in bodies if body]


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


def compressed(content: bytes) -> bytes:
    return b"\1" + len(content).to_bytes(4) + content


MESSAGE = StringValue(value="hello").SerializeToString()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [(b"gzip", gzip.compress(MESSAGE)), (b"deflate", zlib.compress(MESSAGE))],
)
def test_compressed_messages_are_read(application, encoding, content):
    """Messages compressed with gzip or deflate, gRPC's standard compressions, are read."""
    events = call(application, [compressed(content)], headers=[(b"grpc-encoding", encoding)])

    assert answers(events) == ["HELLO"]


@pytest.mark.parametrize(
    ("encoding", "content", "code", "message"),
    [
        (b"gzip", b"no gzip", StatusCode.INVALID_ARGUMENT, "cannot be decompressed"),
        (b"gzip", gzip.compress(MESSAGE)[:-5], StatusCode.INVALID_ARGUMENT, "is truncated"),
        (b"br", b"x", StatusCode.UNIMPLEMENTED, "grpc-encoding 'br' is not supported"),
        (
            b"gzip",
            gzip.compress(bytes(100_000)),
            StatusCode.RESOURCE_EXHAUSTED,
            "compressed request message inflates to over 1000 bytes",
        ),
    ],
)
def test_bad_compression_is_refused(application, encoding, content, code, message):
    """Malformed, unknown and too large compressed messages are refused.

    No more bytes are inflated than a message may have.
    """
    events = call(application, [compressed(content)], headers=[(b"grpc-encoding", encoding)])

    answered = status(events)
    assert answered[0] == code
    assert message in answered[1]


def of_length(length: int) -> bytes:
    """Return a serialized message of `length` bytes."""
    message = StringValue(value="x" * (length - 3)).SerializeToString()
    assert len(message) == length
    return message


@pytest.mark.parametrize(
    ("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
@pytest.mark.parametrize("path", ["/s/Shout", "/s/ShoutEach"])
def test_the_limit_of_a_message_is_exact(application, path, encoding, compress):
    """A message of exactly the limit is read, one byte more is refused, in chunks or compressed."""
    fits, too_long = of_length(MAX_MESSAGE_BYTES), of_length(MAX_MESSAGE_BYTES + 1)
    headers = [(b"grpc-encoding", encoding)]

    def ask(body, cut=None):
        chunks = [body] if cut is None else [body[:cut], body[cut:]]
        events = call(application, chunks, path, headers)
        return status(events)[0], [len(answer) for answer in answers(events)]

    read, refused = (StatusCode.OK, [MAX_MESSAGE_BYTES - 3]), (StatusCode.RESOURCE_EXHAUSTED, [])
    for cut in (None, 3, 500):
        assert ask(grpc_wire.frame(fits), cut) == read
        assert ask(grpc_wire.frame(too_long), cut) == refused
        assert ask(compressed(compress(fits)), None if cut is None else 3) == read
        assert ask(compressed(compress(too_long)), None if cut is None else 3) == refused


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


def call_at_once(application, count: int, body: bytes, path: str = "/s/Shout") -> list[dict]:
    """Send `count` requests in two pieces each; second pieces wait until all first ones arrived."""
    waiting = asyncio.Event()
    arrived = 0

    async def one():
        pieces = [body[:-1], body[-1:]]
        sent = []

        async def receive():
            nonlocal arrived
            if len(pieces) == 1:
                arrived += 1
                if arrived == count:
                    waiting.set()
                await asyncio.wait_for(waiting.wait(), 0.5)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(event):
            sent.append(event)

        headers = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        await application({"type": "http", "path": path, "headers": headers}, receive, send)
        return sent

    async def all_of_them():
        return await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)

    return asyncio.run(all_of_them())


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


def test_inflated_messages_count_in_the_budget(application):
    """A compressed message counts with its inflated size until it is answered."""
    message = compressed(gzip.compress(StringValue(value="x" * 600).SerializeToString()))
    headers = [(b"grpc-encoding", b"gzip")]

    fine = call(application, [message], headers=headers)
    left = application._budget.used
    application._budget.used = MAX_BUFFERED_BYTES - 100
    refused = call(application, [message], headers=headers)

    assert answers(fine) == ["X" * 600]
    assert left == 0
    assert status(refused)[0] == StatusCode.UNAVAILABLE
    assert application._budget.used == MAX_BUFFERED_BYTES - 100


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


def test_two_methods_cannot_share_a_path():
    """Two methods with one path are a ValueError."""
    method = UnaryMethod(path="/s/M", request_type=StringValue, handler=shout, role=Role.PREDICT)

    with pytest.raises(ValueError, match="two methods have the path /s/M"):
        method_table([method, method])


def test_a_timeout_header_is_parsed_without_a_server():
    """`deadline` refuses a malformed grpc-timeout and returns None without the header."""
    assert grpc_wire.deadline({}) is None
    with pytest.raises(InvalidInput, match="grpc-timeout is '5', expected 1 to 8 digits"):
        grpc_wire.deadline({b"grpc-timeout": b"5"})
