"""gRPC calls by path and bytes, for requests that PredictClient does not send."""

import grpc
import pytest


def call_raw(channel: grpc.Channel, path: str, body: bytes, **options: object) -> bytes:
    """Return the serialized answer to a serialized request."""
    return channel.unary_unary(path)(body, timeout=10, **options)


def refusal(channel: grpc.Channel, path: str, body: bytes, **options: object) -> tuple:
    """Return the code and details of the status that refuses a request."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, path, body, **options)
    return caught.value.code(), caught.value.details()
