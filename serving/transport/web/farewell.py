"""The end of HTTP/1.1 connections without lost requests, before a server gives up its sockets.

HTTP/2 has a frame for the end of a connection (GOAWAY), after which a client sends its next request
on a new one. In HTTP/1.1, a client learns of the end only from an answer's `connection: close`: if
the server just closes, a request may already be on its way.
"""

from collections.abc import Mapping
from typing import Any

from serving.transport.asgi import Application, Receive, Send

_CLOSE = (b"connection", b"close")


class Farewell:
    """An ASGI application that marks HTTP/1.1 answers as their connection's last while it leaves.

    Attributes:
        is_leaving: Whether answers that begin from now on are marked.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self.is_leaving = False

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["http_version"] == "2":
            await self._application(scope, receive, send)
            return

        async def mark(message: dict[str, Any]) -> None:
            if self.is_leaving and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        await self._application(scope, receive, mark)
