"""The ASGI types that the gRPC application and the HTTP application share."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

# ASGI's `receive`: returns the next piece of a request.
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


def certificate_of(scope: Mapping[str, Any]) -> str:
    """Return the subject of the client's certificate, by RFC 4514; empty if it has sent none."""
    extensions = scope.get("extensions")
    tls = extensions.get("tls") if extensions else None
    return tls["client_cert_name"] or "" if tls else ""


class Disconnected(Exception):
    """The client has reset the stream or closed the connection: an answer would not be read."""


Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]
