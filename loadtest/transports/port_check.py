"""What a port speaks: plain text or TLS, HTTP/2 (gRPC) or HTTP/1.1 (REST).

A client library says that it did not connect, and rarely why. Connections of this module's own find
out, so that an error can name the flag to change. They are made only if a request failed or takes
long, and send nothing but an opening of HTTP.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loadtest.settings.config import ConnectionConfig

_PROBE_SECONDS = 2.0
# In TLS 1.3 a server refuses a client's certificate after the client's handshake has ended.
_REFUSAL_SECONDS = 0.5
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4

Protocol = Literal["HTTP/2", "HTTP/1.1"]
# What a port did with an opening: it answered in a protocol, with something else or by closing the
# connection, or not at all within the time.
Reply = Literal["HTTP/2", "HTTP/1.1", "other", "silence"]
# The openings: the preface of HTTP/2 with an empty SETTINGS frame, which a server answers with its
# own SETTINGS frame, and a request of HTTP/1.1. With TLS each has a name in the handshake (ALPN).
_OPENINGS: dict[Protocol, tuple[bytes, str]] = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", "h2"),
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "http/1.1"),
}
# Parts of the names of TLS alerts with which a server refuses a client's certificate, or its lack.
_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")


@dataclass(frozen=True)
class Problem:
    """A reason why no request can be answered.

    Attributes:
        text: What was found and what was expected, and the flag to change; one line.
        certain: Whether it can only be this. A port that is silent or refuses connections may
            become another one while the server starts.
        wrong_protocol: Whether the port speaks the protocol of the other transports alone; the text
            then names no flag, because it depends on whether one of these is answered.
    """

    text: str
    certain: bool = True
    wrong_protocol: bool = False


def check(target: str, connection: ConnectionConfig, needed: Protocol) -> Problem | None:
    """Return why a connection cannot carry requests; None if it can. Takes some seconds at most.

    Args:
        target: `host:port`.
        connection: TLS settings.
        needed: The protocol of the transport: HTTP/2 for gRPC, HTTP/1.1 for REST.

    Raises:
        UsageError: see `ConnectionConfig.ssl_context`.
    """
    try:
        _connect(target).close()
    except OSError as error:
        text = f"cannot reach a server at {target}: {error}; start it, or change --target"
        return Problem(text, certain=False)
    if connection.tls:
        problem = _tls_problem(target, connection)
        if problem is not None:
            return problem
    replies = _replies(lambda name: _open(target, connection, name))
    if set(replies.values()).isdisjoint(_OPENINGS) and not connection.tls and _begins_tls(target):
        return Problem(
            f"{target} speaks TLS, and this run plain text; add --tls, or --ca FILE with the "
            "server's certificate authority"
        )
    if needed in replies.values():
        return None
    certain = replies[needed] != "silence"
    for protocol in replies.values():
        if protocol in _OPENINGS:
            text = f"{target} speaks {protocol} and not {needed}"
            return Problem(text, certain=certain, wrong_protocol=True)
    text = (
        f"{target} accepts connections and answers neither HTTP/2 nor HTTP/1.1; expected a model "
        "server; change --target, or wait until the server answers"
    )
    return Problem(text, certain=False)


def _tls_problem(target: str, connection: ConnectionConfig) -> Problem | None:
    """Return why a TLS handshake fails, or is refused after it; None if it succeeds."""
    try:
        if not _closed_after_handshake(target, connection):
            return None
        return Problem(_certificate_refused(target, connection, "it closed the connection"), False)
    except ssl.SSLCertVerificationError as error:
        return Problem(_untrusted(target, connection, error))
    except OSError as error:  # errors of TLS and timeouts are among them
        reason = getattr(error, "reason", None) or str(error)
    refusal = reason.replace("_", " ").lower()
    if "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS):
        return Problem(_certificate_refused(target, connection, refusal))
    plain = _replies(lambda _: _connect(target))
    if not set(plain.values()).isdisjoint(_OPENINGS):
        flags = [f"--{name}" for name in ("ca", "cert", "key") if getattr(connection, name)]
        return Problem(
            f"{target} speaks plain text, and this run TLS; leave out "
            f"{', '.join(flags) or '--tls'}, or give the server a certificate"
        )
    text = f"the TLS handshake with {target} failed: {refusal}; expected a server with TLS"
    return Problem(f"{text}; change --target, or leave out --tls", certain=False)


def _closed_after_handshake(target: str, connection: ConnectionConfig) -> bool:
    """Return whether a server closes the connection at once after the handshake.

    Raises:
        OSError: The handshake failed, or was refused after the client's part of it.
    """
    with _open(target, connection, *(name for _, name in _OPENINGS.values())) as secured:
        secured.settimeout(_REFUSAL_SECONDS)
        try:
            return secured.recv(1) == b""
        except TimeoutError:  # the server waits for a request
            return False


def _untrusted(
    target: str, connection: ConnectionConfig, error: ssl.SSLCertVerificationError
) -> str:
    trusted = f"--ca {connection.ca}" if connection.ca else "the authorities of the system"
    reason = error.verify_message.rstrip(".")
    text = f"{trusted} received, and the certificate of {target} does not pass: {reason}"
    if "mismatch" in reason:
        return f"{text}; expected a name in the certificate; change the host in --target"
    if "expired" in reason or "not yet valid" in reason:
        return f"{text}; give the server a new certificate"
    return f"{text}; expected the authority that signed it; change --ca"


def _certificate_refused(target: str, connection: ConnectionConfig, refusal: str) -> str:
    if connection.cert is None:
        return (
            f"{target} demands a client certificate ({refusal}), and this run has none; add "
            "--cert FILE and --key FILE"
        )
    return (
        f"{target} refuses the client certificate {connection.cert} ({refusal}); expected one of "
        "an authority that the server trusts; change --cert and --key"
    )


def _replies(connect: Callable[[str], socket.socket]) -> dict[Protocol, Reply]:
    """Return the reply to each opening.

    Args:
        connect: Returns a connection that can carry the protocol with this name in ALPN.
    """
    return {
        protocol: _reply(connect, opening, name) for protocol, (opening, name) in _OPENINGS.items()
    }


def _reply(connect: Callable[[str], socket.socket], opening: bytes, name: str) -> Reply:
    head = b""
    try:
        with connect(name) as connection:
            connection.sendall(opening)
            while len(head) < _FRAME_HEADER_BYTES and (more := connection.recv(64)):
                head += more
    except TimeoutError:
        return "silence"
    except OSError:
        pass  # what was received before the end counts
    if head.startswith(b"HTTP/1."):
        return "HTTP/1.1"
    frame = len(head) >= _FRAME_HEADER_BYTES and head[0] == 0 and head[3] == _SETTINGS
    return "HTTP/2" if frame else "other"


def _open(target: str, connection: ConnectionConfig, *names: str) -> socket.socket:
    """Connect, with a TLS handshake if the connection has TLS.

    Args:
        target: `host:port`.
        connection: TLS settings.
        names: Protocols to offer in the handshake (ALPN).

    Raises:
        OSError: nobody listens, or the handshake failed.
    """
    raw = _connect(target)
    context = connection.ssl_context()
    if context is None:
        return raw
    context.set_alpn_protocols(list(names))
    try:
        return context.wrap_socket(raw, server_hostname=_address(target)[0])
    except OSError:
        raw.close()
        raise


def _begins_tls(target: str) -> bool:
    """Return whether a server takes part in a TLS handshake; its certificate is not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([name for _, name in _OPENINGS.values()])
    try:
        with _connect(target) as connection, context.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # a refusal in the words of TLS
    except OSError:
        return False


def _connect(target: str) -> socket.socket:
    return socket.create_connection(_address(target), timeout=_PROBE_SECONDS)


def _address(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)
