"""The endpoints of a server: sockets with one application and one set of certificates each.

Without TLS, and with the same TLS on both, the ports for gRPC and for REST are one endpoint that
answers both on either. With TLS on one of them, or with different TLS, they are two, and none may
be a way around the certificates of the other:

- The port for REST answers no gRPC.
- The port for gRPC answers no HTTP if the port for REST has TLS of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from socket import socket
from typing import Any

from serving.errors import StatusCode
from serving.transport.asgi import Application, Receive, Send
from serving.transport.failures import error_response
from serving.transport.grpc_wire import status_headers
from serving.transport.listeners import Listeners
from serving.transport.tls import TlsConfig

_NO_GRPC = (
    "this port answers HTTP alone, because its TLS is not that of the port for gRPC; call the "
    "port that --port names"
)
_NO_HTTP = (
    "this port answers gRPC alone, because the port for REST has TLS of its own; call the port "
    "that --rest_api_port names"
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Sockets that answer alike.

    Attributes:
        listeners: The sockets; they listen.
        application: What answers.
        certificates: None for plain text.
    """

    listeners: Sequence[socket]
    application: Application
    certificates: TlsConfig | None = None


def endpoints(
    listeners: Listeners,
    *,
    http: Application,
    grpc: Callable[[Application], Application] | None,
    rpc_certificates: TlsConfig | None,
    rest_certificates: TlsConfig | None,
) -> list[Endpoint]:
    """The endpoints for gRPC and REST; see above.

    Args:
        listeners: The sockets. Those for health are left out: they are an endpoint of their own.
        http: Answers HTTP requests.
        grpc: Makes what answers gRPC calls, and leaves the other requests to the application that
            it is given; None where another library answers them.
        rpc_certificates: Of the port for gRPC; None for plain text.
        rest_certificates: Of the port for REST; likewise.
    """
    if grpc is None:
        rest = Endpoint(listeners=listeners.rest, application=http, certificates=rest_certificates)
        return [rest] if listeners.rest else []
    if not listeners.rest or rpc_certificates == rest_certificates:
        both = [*listeners.rpc, *listeners.rest]
        return [Endpoint(listeners=both, application=grpc(http), certificates=rpc_certificates)]
    beside_grpc = http if rest_certificates is None else _refuse_http
    return [
        Endpoint(
            listeners=listeners.rpc,
            application=grpc(beside_grpc),
            certificates=rpc_certificates,
        ),
        Endpoint(
            listeners=listeners.rest,
            application=_HttpAlone(http),
            certificates=rest_certificates,
        ),
    ]


class _HttpAlone:
    """HTTP; a gRPC call is told where to go."""

    def __init__(self, http: Application) -> None:
        self._http = http

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        if not content_type.startswith(b"application/grpc"):
            await self._http(scope, receive, send)
            return
        status = status_headers(StatusCode.UNIMPLEMENTED, _NO_GRPC)
        headers = [(b"content-type", b"application/grpc"), *status]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _refuse_http(_scope: Mapping[str, Any], _receive: Receive, send: Send) -> None:
    """Tell an HTTP request where to go."""
    response = error_response(StatusCode.NOT_FOUND, _NO_HTTP)
    headers = [(b"content-type", response.content_type.encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
