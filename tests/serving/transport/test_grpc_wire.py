"""Tests of what gRPC writes into HTTP headers: status messages and timeouts."""

from urllib.parse import unquote

import pytest

from serving.errors import InvalidInput, StatusCode
from serving.transport import grpc_wire


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
