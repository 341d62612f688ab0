"""What every request passes before it is answered: no WebSocket, and few bytes of headers held.

HTTP/2 compresses headers: a few bytes on the wire can stand for kilobytes in memory, in each of
thousands of requests that wait for their bodies.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from serving.errors import StatusCode
from serving.transport.asgi import Application, Receive, Send
from serving.transport.failures import error_response
from serving.transport.grpc_wire import status_headers
from serving.transport.limits.traffic import FIRST_REQUESTS, Traffic, TrafficTable

# Requests in flight whose headers are not worth counting.
_FREE_REQUESTS = 2048
# Bytes of headers of the requests beyond those, all together.
_MAX_HEADER_BYTES = 32 << 20
# What a header takes beside its bytes: two Python objects and a tuple.
_HEADER_OVERHEAD = 128
# Over that, requests with few headers still get in, while their connection has few in flight.
_SMALL_HEADER_BYTES = 2048
_FEW_REQUESTS = 16
_REFUSAL = "too many requests are under way; retry with backoff"


def must_ask(table: TrafficTable, traffic: Traffic) -> bool:
    """Whether a request that was begun may be answered only after `ask`.

    The usual case is two comparisons: a connection with many answers behind it, and few requests in
    flight.
    """
    return (
        2 * traffic.in_flight > FIRST_REQUESTS + traffic.requests
        or table.in_flight > _FREE_REQUESTS
    )


async def ask(
    scope: Mapping[str, Any], send: Send, table: TrafficTable, traffic: Traffic
) -> int | None:
    """Wait until a request may be answered, or refuse it.

    Args:
        scope: ASGI's, of type `http`.
        send: ASGI's.
        table: Counts the request. Where several applications share one, the limits are for their
            requests together.
        traffic: Of its connection.

    Returns:
        Bytes of headers that count until the request's `end`; None if it has been refused.
    """
    header_bytes = _size(scope["headers"]) if table.in_flight > _FREE_REQUESTS else 0
    is_modest = header_bytes <= _SMALL_HEADER_BYTES and traffic.in_flight <= _FEW_REQUESTS
    if header_bytes and not is_modest and table.header_bytes + header_bytes > _MAX_HEADER_BYTES:
        await _refuse(scope, send)
        return None
    table.header_bytes += header_bytes
    try:
        await traffic.wait_for_turn()
    except BaseException:  # the client is gone
        table.header_bytes -= header_bytes
        raise
    return header_bytes


class Admitted:
    """An ASGI application whose requests are admitted before it answers them."""

    def __init__(self, application: Application, traffic: TrafficTable) -> None:
        """Prepare.

        Args:
            application: Answers the requests that are let in.
            traffic: Counts them.
        """
        self._application = application
        self._traffic = traffic

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await refuse_websocket(scope, receive, send)
            return
        table = self._traffic
        traffic = table.begin(scope.get("client"))
        header_bytes: int | None = 0
        try:
            if must_ask(table, traffic):
                header_bytes = await ask(scope, send, table, traffic)
            if header_bytes is not None:
                await self._application(scope, receive, send)
        finally:
            table.end(traffic, header_bytes)


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in headers)


async def _refuse(scope: Mapping[str, Any], send: Send) -> None:
    if dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/grpc"):
        status, body = 200, b""
        headers = [
            (b"content-type", b"application/grpc"),
            *status_headers(StatusCode.UNAVAILABLE, _REFUSAL),
        ]
    else:
        response = error_response(StatusCode.UNAVAILABLE, _REFUSAL)
        status, body = response.status, response.body
        headers = [(b"content-type", response.content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse_websocket(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Close what is no HTTP request before it is open; the client gets a 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
