"""The types of the ASGI protocol that the gRPC and the HTTP application share."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

# ASGI's `receive`: the next piece of a request.
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Disconnected(Exception):
    """The client reset the stream or is gone; nobody reads an answer."""


Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]
