"""An endpoint: listening sockets with the same application and the same TLS."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from serving.transport.asgi import Application
from serving.transport.tls import Port, TlsConfig


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Sockets with the same application and the same TLS.

    Attributes:
        listeners: The listening sockets.
        application: The application that answers their requests.
        certificates: TLS of the sockets; None for plain text.
        port: The port whose TLS settings the endpoint has.
    """

    listeners: Sequence[socket.socket]
    application: Application
    certificates: TlsConfig | None = None
    port: Port = "grpc"
