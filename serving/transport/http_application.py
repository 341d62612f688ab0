"""HTTP requests other than gRPC, over ASGI: a table of routes, JSON errors, bounded bodies.

The REST APIs and the monitoring pages are routes in one table. A handler gets the complete request.
It returns an `HttpResponse` or raises a `ServingError`, whose gRPC code determines the HTTP status.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

from serving import stage_times
from serving.access.gate import Gate
from serving.errors import InvalidInput, ResourceExhausted, StatusCode
from serving.transport import failures
from serving.transport.asgi import Disconnected, Receive, certificate_of
from serving.transport.failures import error_response
from serving.transport.limits.body_time import BodyTime
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.limits.flows import Flows
from serving.transport.limits.inflate import DEFLATE, RAW_DEFLATE, WINDOW_BITS, inflate, is_zlib
from serving.transport.limits.unread_answers import UnreadAnswers
from serving.transport.route_table import HttpRequest, HttpResponse, Route

logger = logging.getLogger(__name__)

_API = re.compile(r"(?i)/v1/|/v2(?:/|\Z)")
_ORIGIN = re.compile(rb"https?://")
_CORS_HEADERS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
# A server with keys also lets web pages send a key.
_CORS_HEADERS_WITH_KEYS = (
    *_CORS_HEADERS[:-1],
    (b"access-control-allow-headers", b"Content-Type, Authorization, X-Api-Key"),
)

Send = Callable[[dict[str, Any]], Awaitable[None]]


class HttpApplication:
    """An ASGI application that answers HTTP requests from a table of routes."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        max_body_bytes: int,
        budget: ByteBudget,
        unread: UnreadAnswers,
        with_cors: bool = False,
        gate: Gate | None = None,
        flows: Flows | None = None,
    ) -> None:
        """Serve routes; the first route that matches answers a request.

        Args:
            routes: The table of routes.
            max_body_bytes: Size limit of a body; a larger one is refused while it is read.
            budget: The byte budget of all requests together.
            unread: Counts the bytes of each answer until it is sent.
            with_cors: Let web pages of any origin read the answers of the APIs.
            gate: Checks who calls, before a request's body is read; None: everyone may call all.
            flows: Finds the client of each call, for the fair queues; None: trusts no proxy.
        """
        self._flows = flows or Flows()
        self._gate = gate
        self._cors_headers = _CORS_HEADERS if gate is None else _CORS_HEADERS_WITH_KEYS
        self._with_cors = with_cors
        self._unread = unread
        self._budget = budget
        self._routes = routes
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_headers = dict(scope["headers"])
        times = stage_times.begin(request_headers)
        more_headers: list[tuple[bytes, bytes]] = []
        connection = scope.get("client")
        had_to_ask = self._unread.crowded
        if had_to_ask:
            await self._unread.begin(connection)
        hold = Hold(self._budget, connection)
        try:
            response = await self._respond(scope, request_headers, receive, hold)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            what = f"{scope['method']} {scope['path']}"
            code, message, further = failures.status_of(error, what, request_headers, logger)
            response = error_response(code, message)
            more_headers.extend(further)
        finally:
            hold.release()
            if had_to_ask:
                self._unread.end(connection)
        if self._with_cors and _API.match(scope["path"]):
            more_headers.extend(self._cors_headers)
        if times:
            more_headers.append(times.header())
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *response.headers,
            *more_headers,
        ]
        body = b"" if scope["method"] == "HEAD" else response.body
        self._unread.add(connection, len(body))
        try:
            start = {"type": "http.response.start", "status": response.status, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": body})
        finally:
            self._unread.remove(connection, len(body))

    async def _respond(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        receive: Receive,
        hold: Hold,
    ) -> HttpResponse:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        # Match the raw path: there, an encoded slash in a model's name does not separate segments.
        raw_path = scope["raw_path"].decode("latin-1").partition("?")[0]
        for route in self._routes:
            match = route.pattern.fullmatch(raw_path) if route.method == method else None
            if match:
                parameters = {
                    name: None if value is None else unquote(value)
                    for name, value in match.groupdict().items()
                }
                usage = None
                if self._gate is not None:
                    certificate = certificate_of(scope) if self._gate.reads_certificates else ""
                    usage = self._gate.enter(route.role, headers, certificate)
                hold.flow = self._flows.begin(hold.caller, headers)
                try:
                    body = await self._read_body(receive, hold)
                    request = HttpRequest(
                        method=method,
                        path=scope["path"],
                        headers=headers,
                        body=await self._inflate(body, headers, hold),
                        parameters=parameters,
                        hold=hold,
                        wait_for_disconnect=partial(_wait_for_disconnect, receive),
                    )
                    return await route.handler(request)
                finally:
                    if usage is not None:
                        usage.leave()
        return self._refuse(scope, raw_path, headers)

    def _refuse(
        self, scope: Mapping[str, Any], raw_path: str, headers: Mapping[bytes, bytes]
    ) -> HttpResponse:
        """Answer a request that no route matches, as TensorFlow Serving: 400 in the APIs, else 404.

        A CORS preflight is answered here too.
        """
        method, query = scope["method"], scope.get("query_string", b"").decode("latin-1")
        target = f"{raw_path}?{query}" if query else raw_path
        if method == "OPTIONS" and _API.match(scope["path"]):
            # CORS preflight: a browser sends it before a web page's request to another origin.
            if _ORIGIN.search(headers.get(b"origin", b"")):
                return HttpResponse(body=b"")
            message = "Origin header is missing in CORS preflight"
            return error_response(StatusCode.FAILED_PRECONDITION, message)
        is_known = any(route.pattern.fullmatch(raw_path) for route in self._routes)
        if is_known or _API.match(raw_path):
            message = f"Malformed request: {method} {target}"
            return error_response(StatusCode.INVALID_ARGUMENT, message)
        message = f"Not found: {method} {target}; the APIs are under /v1/ and /v2"
        return error_response(StatusCode.NOT_FOUND, message)

    async def _read_body(self, receive: Receive, hold: Hold) -> bytes:
        body = bytearray()
        body_time = BodyTime(0)
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Disconnected
            chunk = event.get("body", b"")
            more = event.get("more_body", False)
            if more:
                hold.take(len(chunk))
                body_time.check(len(chunk))
            body += chunk
            if len(body) > self._max_body_bytes:
                msg = (
                    f"request body has over {self._max_body_bytes} bytes; send smaller batches or "
                    "raise the server's --max_message_bytes, or --max_buffered_bytes if it is not "
                    "set"
                )
                raise ResourceExhausted(msg)
        return bytes(body)

    async def _inflate(self, body: bytes, headers: Mapping[bytes, bytes], hold: Hold) -> bytes:
        """Return the body without its content encoding.

        Raises:
            InvalidInput: the encoding is unknown, or the body does not have this encoding.
            ResourceExhausted, Unavailable: see `inflate`.
        """
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding == b"identity":
            return body
        window_bits = WINDOW_BITS.get(encoding.removeprefix(b"x-"))
        name = encoding.decode("latin-1")
        if window_bits is None:
            msg = f"content-encoding {name!r} is not supported; expected gzip, deflate or identity"
            raise InvalidInput(msg)
        if window_bits == DEFLATE and not is_zlib(body):
            window_bits = RAW_DEFLATE
        limit = self._max_body_bytes
        return await inflate(body, window_bits, limit=limit, hold=hold, what=f"{name} body")


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
