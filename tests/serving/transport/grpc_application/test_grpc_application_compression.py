"""Tests of compressed request messages, and of the limits that hold for them too."""

import gzip
import zlib

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from running.shouting_application import (
    MAX_BUFFERED_BYTES,
    MAX_MESSAGE_BYTES,
    answers,
    call,
    status,
)

from serving.errors import StatusCode
from serving.transport import grpc_wire


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
