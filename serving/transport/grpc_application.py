"""gRPC over ASGI: an ASGI application that answers calls from the method table.

The ASGI server must support HTTP/2 with trailers. Requests that are not gRPC go to another ASGI
application, so that both share a port. A unary call is answered in the task of its request; a
streaming call gets two tasks, one that receives requests and one that sends responses.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

from serving import stage_times
from serving.access.gate import Gate
from serving.errors import InvalidInput, Unsupported
from serving.stage_times import StageTimes
from serving.transport import failures
from serving.transport.asgi import Application, Disconnected, Receive, Send, certificate_of
from serving.transport.grpc_wire import (
    ACCEPT_ENCODING,
    MessageReader,
    deadline,
    frame,
    prefix,
    read_only_message,
    status_headers,
)
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.limits.flows import Flows
from serving.transport.limits.unread_answers import COUNTED_BYTES, UnreadAnswers
from serving.transport.method_table import Call, Method, StreamMethod, UnaryMethod, parse

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

# Requests of one stream that may wait for its handler. When the queue is full, nothing more is read
# from the client.
_MAX_WAITING_REQUESTS = 16
# From this size on, sending prefix and answer separately costs less than copying them together.
_LONG_BYTES = 64 << 10
_CONTENT_TYPE = (b"content-type", b"application/grpc")
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [_CONTENT_TYPE, (b"grpc-accept-encoding", ACCEPT_ENCODING)],
    "trailers": True,
}
_OK_TRAILERS = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


class GrpcApplication:
    """An ASGI application that answers gRPC calls from a method table."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        http: Application,
        *,
        max_message_bytes: int,
        budget: ByteBudget,
        unread: UnreadAnswers,
        gate: Gate | None = None,
        flows: Flows | None = None,
    ) -> None:
        """Serve methods.

        Args:
            methods: The methods by path, see `method_table.method_table`.
            http: Answers the HTTP requests that are not gRPC.
            max_message_bytes: Size limit of a message; a larger one is refused before it is read.
            budget: The byte budget of all requests together.
            unread: Counts the bytes of each answer until it is sent.
            gate: Checks who calls, before a call's message is read; None: everyone may call all.
            flows: Finds the client of each call, for the fair queues; None: trusts no proxy.
        """
        self._flows = flows or Flows()
        self._gate = gate
        self._unread = unread
        self._budget = budget
        self._http = http
        self._methods = methods
        self._max_message_bytes = max_message_bytes

    # One long coroutine, because every further coroutine would slow down each request.
    async def __call__(  # noqa: C901, PLR0912, PLR0915
        self, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            await self._http(scope, receive, send)
            return
        path, connection = scope["path"], scope.get("client")
        had_to_ask = self._unread.crowded
        if had_to_ask:
            await self._unread.begin(connection)
        times = stage_times.begin(headers)
        hold = Hold(self._budget, connection)
        usage = None
        try:
            if headers.get(b"te") != b"trailers":
                _refuse(headers)
            call = Call(deadline(headers), headers, hold)
            method = self._methods.get(path)
            if self._gate is not None and method is not None:
                certificate = certificate_of(scope) if self._gate.reads_certificates else ""
                usage = self._gate.enter(method.role, headers, certificate)
            hold.flow = self._flows.begin(connection, headers)
            if isinstance(method, UnaryMethod):
                message = await read_only_message(
                    receive, headers, self._max_message_bytes, hold, path
                )
                response = await method.handler(parse(method, message, hold), call)
                payload = response.SerializeToString()
            else:
                if had_to_ask:  # a stream may last for days: do not count it as an answer to come
                    had_to_ask = False
                    self._unread.end(connection)
                reader = MessageReader(receive, headers, self._max_message_bytes, hold)
                await _answer_stream(_existing(method, path), call, reader, send, headers)
                return
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _send_error(send, _status_of(error, path, headers))
            return
        finally:
            hold.release()
            if usage is not None:
                usage.leave()
            if had_to_ask:
                self._unread.end(connection)
        length = len(payload)
        is_long = length >= _LONG_BYTES
        if not is_long:
            payload = frame(payload)
        is_counted = length >= COUNTED_BYTES
        if is_counted:
            self._unread.add(connection, length)
        try:
            await send(_START)
            if is_long:
                await send(
                    {"type": "http.response.body", "body": prefix(length), "more_body": True}
                )
            await send({"type": "http.response.body", "body": payload})
            await send(_OK_TRAILERS if times is None else _trailers(times))
        finally:
            if is_counted:
                self._unread.remove(connection, length)


def _refuse(headers: Mapping[bytes, bytes]) -> NoReturn:
    """Refuse a client that does not accept trailers, which carry the status.

    Raises:
        InvalidInput: always.
    """
    msg = f"header te is {headers.get(b'te', b'').decode('latin-1')!r}, expected 'trailers'"
    raise InvalidInput(msg)


async def _answer_stream(
    method: StreamMethod[Any],
    call: Call,
    reader: MessageReader,
    send: Send,
    headers: Mapping[bytes, bytes],
) -> None:
    """Answer a streaming call; stop when the client disconnects."""
    # Each item is a request, or the error that ended the stream, or None at its end.
    arrived: asyncio.Queue[Any] = asyncio.Queue(maxsize=_MAX_WAITING_REQUESTS)
    receiving = asyncio.create_task(_receive_stream(method, reader, arrived))
    responding = asyncio.create_task(_send_stream(method, call, arrived, send, headers))
    try:
        # The receiving task ends when the client disconnects: then responses are not needed.
        await asyncio.wait({receiving, responding}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        receiving.cancel()
        responding.cancel()
        await asyncio.gather(receiving, responding, return_exceptions=True)


async def _receive_stream(
    method: StreamMethod[Any], reader: MessageReader, arrived: asyncio.Queue[Any]
) -> None:
    try:
        while (message := await reader.read_message()) is not None:
            await arrived.put(parse(method, message))
        await arrived.put(None)
    except Disconnected:
        return
    except Exception as error:  # noqa: BLE001 - the stream is answered with the error's status
        await arrived.put(error)
    await reader.wait_for_disconnect()


async def _send_stream(
    method: StreamMethod[Any],
    call: Call,
    arrived: asyncio.Queue[Any],
    send: Send,
    headers: Mapping[bytes, bytes],
) -> None:
    async def requests() -> AsyncIterator[Any]:
        while (item := await arrived.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    trailers = _OK_TRAILERS
    await send(_START)
    try:
        async for response in method.handler(requests(), call):
            body = frame(response.SerializeToString())
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except Exception as error:  # noqa: BLE001 - every error becomes a status
        status = _status_of(error, method.path, headers)
        trailers = {"type": "http.response.trailers", "headers": status}
    await send({"type": "http.response.body", "body": b""})
    await send(trailers)


def _existing(method: StreamMethod[Any] | None, path: str) -> StreamMethod[Any]:
    if method is None:
        msg = f"unknown method {path}; server reflection lists the available methods"
        raise Unsupported(msg)
    return method


def _status_of(error: Exception, path: str, headers: Mapping[bytes, bytes]) -> list[Header]:
    """Return the headers or trailers for an error; the text of unexpected errors is only logged."""
    code, message, further = failures.status_of(error, path, headers, logger)
    return [*status_headers(code, message), *further]


def _trailers(times: StageTimes) -> dict[str, Any]:
    """Return the trailers of a successful call that asked for `server-timing`."""
    return {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0"), times.header()]}


async def _send_error(send: Send, status: list[Header]) -> None:
    """End a call that was sent no response yet: the status goes into the headers."""
    headers = [_CONTENT_TYPE, *status]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
