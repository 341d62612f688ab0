"""Requests over HTTP/1.1: aiohttp with bodies that are already serialised."""

import gzip
import json
import zlib
from collections.abc import Sequence

import aiohttp

from loadtest.settings.config import PLAIN, ConnectionConfig, Header
from loadtest.transports.api import CallError
from loadtest.transports.sender import (
    TIMING_REQUEST_HEADER,
    TIMING_RESPONSE_HEADER,
    Lane,
    TimedResponse,
)


class HttpError(Exception):
    """An answer other than 200.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpSender:
    """POST requests to one path; each request under way has its own connection, later reused."""

    failures: tuple[type[BaseException], ...] = (
        HttpError,
        aiohttp.ClientError,
        TimeoutError,
        OSError,
    )

    def __init__(
        self,
        target: str,
        path: str,
        *,
        timeout_seconds: float,
        headers: Sequence[Header],
        connection: ConnectionConfig = PLAIN,
        server_timing: bool = False,
    ) -> None:
        """Prepare; connections are opened as requests need them.

        Args:
            target: `host:port`.
            path: Path of the URL.
            timeout_seconds: Deadline of a request.
            headers: Headers of every request, which the API needs.
            connection: TLS, further headers, and the compression of the bodies; see `compressed`.
            server_timing: Ask the server for its own timings; lanes then return a TimedResponse.
        """
        self._url = url(target, path, connection)
        self._server_timing = server_timing
        timing = [(TIMING_REQUEST_HEADER, "1")] if server_timing else []
        encoding = connection.compression
        encoded = [("content-encoding", encoding)] if encoding is not None else []
        self._session = open_session(connection, timeout_seconds, [*headers, *encoded, *timing])

    def lane(self, number: int) -> Lane:  # noqa: ARG002 - connections are not bound to lanes
        """See Sender."""
        return self._send

    def explain(self, error: BaseException) -> tuple[str, str]:
        """See Sender."""
        if isinstance(error, HttpError):
            return f"HTTP_{error.status}", str(error)
        if isinstance(error, TimeoutError):
            return "DEADLINE_EXCEEDED", "no answer in time"
        return "UNAVAILABLE", str(error) or repr(error)

    async def close(self) -> None:
        """See Sender."""
        await self._session.close()

    async def _send(self, body: bytes) -> bytes | TimedResponse:
        async with self._session.post(self._url, data=body) as response:
            content = await response.read()
            if response.status != 200:
                raise HttpError(response.status, error_message(content))
            if self._server_timing:
                return TimedResponse(content, response.headers.get(TIMING_RESPONSE_HEADER, ""))
            return content


def url(target: str, path: str, connection: ConnectionConfig) -> str:
    """Return the URL of a path on a server."""
    return f"{'https' if connection.tls else 'http'}://{target}{path}"


def compressed(body: bytes, connection: ConnectionConfig) -> bytes:
    """Return a request body in the compression of a connection; equal bodies stay equal."""
    if connection.compression == "gzip":
        return gzip.compress(body, mtime=0)
    if connection.compression == "deflate":
        return zlib.compress(body)  # HTTP's "deflate" is the zlib format
    return body


def open_session(
    connection: ConnectionConfig, timeout_seconds: float, headers: Sequence[Header] = ()
) -> aiohttp.ClientSession:
    """Return a session with the TLS settings and headers of a connection, and further headers.

    It accepts compressed answers only if the connection has a compression; aiohttp decompresses
    them.

    Raises:
        UsageError: see `ConnectionConfig.ssl_context`.
    """
    accepted = ("accept-encoding", connection.compression or "identity")
    named = {name for name, _ in connection.headers}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # no limit: the generator limits requests
            ssl=connection.ssl_context() or True,
        ),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers=[
            *([] if "accept-encoding" in named else [accepted]),
            *connection.headers,
            *headers,
        ],
    )


async def get(
    target: str, path: str, *, timeout_seconds: float, connection: ConnectionConfig = PLAIN
) -> bytes:
    """Return the body of the answer to a GET request.

    Args:
        target: `host:port`.
        path: Path of the URL.
        timeout_seconds: Deadline of the request.
        connection: TLS and headers.

    Raises:
        CallError: The server cannot be reached, or answers with another status than 200.
    """
    try:
        async with (
            open_session(connection, timeout_seconds) as session,
            session.get(url(target, path, connection)) as response,
        ):
            content, status = await response.read(), response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        kind = "DEADLINE_EXCEEDED" if isinstance(error, TimeoutError) else "UNAVAILABLE"
        raise CallError(kind, str(error) or repr(error)) from error
    if status != 200:
        kind = f"HTTP_{status}"
        raise CallError(kind, error_message(content))
    return content


def error_message(content: bytes) -> str:
    """Return the message of an error answer: its JSON field "error", or the whole body."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
