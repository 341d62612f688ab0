"""Admission control in front of every application: no WebSockets, a bounded memory for headers.

HTTP/2 compresses headers: a few bytes on the wire can become kilobytes in memory, in each of
thousands of requests that wait for their bodies.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from serving.errors import StatusCode
from serving.transport.asgi import Application, Receive, Send
from serving.transport.failures import error_response
from serving.transport.grpc_wire import status_headers
from serving.transport.limits.traffic import FIRST_REQUESTS, TrafficTable

# The headers of a request are counted only if more requests than this are in flight.
_FREE_REQUESTS = 2048
# Limit on the counted headers of all requests together.
_MAX_HEADER_BYTES = 32 << 20
# Memory of one header in addition to its bytes: two Python objects and a tuple.
_HEADER_OVERHEAD = 128
# Above the limit, a request is still admitted if its headers are at most this large and its
# connection has at most _FEW_REQUESTS in flight.
_SMALL_HEADER_BYTES = 2048
_FEW_REQUESTS = 16
_REFUSAL = "too many requests are in flight; retry with backoff"


class Admission:
    """An ASGI application that passes requests on to another one, or refuses them.

    Attributes:
        traffic: The requests of each connection.
    """

    def __init__(self, application: Application, traffic: TrafficTable) -> None:
        """Put admission control in front of an application.

        Args:
            application: Answers the admitted requests.
            traffic: Counts each request. If several `Admission` objects share one table, the
                limits apply to the requests of all of them together.
        """
        self.traffic = traffic
        self._application = application

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Admit a request, perhaps after it has waited for its turn, or refuse it."""
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
            # This one comparison lets most requests through: if their connection has had many
            # answers, they need not wait.
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
    """Close a WebSocket before its handshake ends; the client gets status 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
