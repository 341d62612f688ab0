"""Requests over HTTP/1.1: aiohttp with bodies that are already serialised."""

import json

import aiohttp

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
        self, target: str, path: str, *, timeout_seconds: float, server_timing: bool = False
    ) -> None:
        """Prepare; connections are opened as requests need them.

        Args:
            target: `host:port`.
            path: Path of the URL.
            timeout_seconds: Deadline of a request.
            server_timing: Ask the server for its own timings; lanes then return a TimedResponse.
        """
        self._url = f"http://{target}{path}"
        self._server_timing = server_timing
        headers = {"Content-Type": "application/json"}
        if server_timing:
            headers[TIMING_REQUEST_HEADER] = "1"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # no limit: the generator limits requests
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            headers=headers,
        )

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


def error_message(content: bytes) -> str:
    """Return the message of an error answer: its JSON field "error", or the whole body."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
