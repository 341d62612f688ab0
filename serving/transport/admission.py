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
from serving.transport.limits.traffic import FIRST_REQUESTS, TrafficTable

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


class Admission:
    """An ASGI application in front of another one.

    Attributes:
        traffic: The requests of each connection.
    """

    def __init__(self, application: Application, traffic: TrafficTable) -> None:
        """Prepare.

        Args:
            application: Answers the requests that are let in.
            traffic: Told of each request. Where several applications share it, the limits are
                for their requests together.
        """
        self.traffic = traffic
        self._application = application

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await _refuse_websocket(scope, receive, send)
            return
        table = self.traffic
        traffic = table.begin(scope.get("client"))
        table.in_flight += 1
        header_bytes = 0
        try:
            if table.in_flight > _FREE_REQUESTS:
                header_bytes = _size(scope["headers"])
                table.header_bytes += header_bytes
                if table.header_bytes > _MAX_HEADER_BYTES and (
                    header_bytes > _SMALL_HEADER_BYTES or traffic.in_flight > _FEW_REQUESTS
                ):
                    await _refuse(scope, send)
                    return
            # The usual case in one comparison: a connection with many answers behind it.
            if 2 * traffic.in_flight > FIRST_REQUESTS + traffic.requests:
                await traffic.wait_for_turn()
            await self._application(scope, receive, send)
        finally:
            traffic.in_flight -= 1
            if traffic.waiting:
                traffic.give_turns()
            table.in_flight -= 1
            if header_bytes:
                table.header_bytes -= header_bytes


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


async def _refuse_websocket(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Close what is no HTTP request before it is open; the client gets a 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
