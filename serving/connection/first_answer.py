"""The first call of a client: tells quickly whether the server speaks TLS and the client does not.

gRPC tries to connect again and again, so that a client with TLS waits for its whole timeout at a
port of plain text. The first call is therefore watched: if it takes long or fails, a connection of
its own asks the port what it speaks. Once a server has answered, calls cost nothing more.
"""

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import grpc

_PATIENCE_SECONDS = 0.5
_PROBE_SECONDS = 2.0
# The preface of HTTP/2 and an empty SETTINGS frame. A server answers with its own SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4
_UNREACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class WrongProtocolError(grpc.RpcError):
    """The server speaks TLS and the client plain text, or the other way round."""

    def code(self) -> grpc.StatusCode:
        """Return UNAVAILABLE, as for other servers that cannot be reached."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return the message."""
        return str(self)


class FirstAnswer:
    """Makes a client's calls until the first answer.

    Attributes:
        was_received: Whether a server has answered, so that calls need not be made here any more.
    """

    def __init__(self, target: str, *, tls: bool) -> None:
        """Open no connection yet.

        Args:
            target: The target of the client's channel.
            tls: Whether the client speaks TLS.
        """
        self._target = target
        self._tls = tls
        self.was_received = False

    def wait(self, call: Any, request: Any, **settings: Any) -> Any:  # noqa: ANN401 - a gRPC callable
        """Call and return the answer; settings as for gRPC's callable.

        Raises:
            WrongProtocolError: see there.
            grpc.RpcError: the call failed for another reason.
        """
        future = call.future(request, **settings)
        try:
            with contextlib.suppress(grpc.FutureTimeoutError):
                return self._received(future.result(_PATIENCE_SECONDS))
            self._check()
            return self._received(future.result())
        except WrongProtocolError:
            raise
        except grpc.RpcError as error:
            self._look_at(error)
            raise
        finally:
            future.cancel()

    async def wait_async(self, call: Any, request: Any, **settings: Any) -> Any:  # noqa: ANN401 - as above
        """Do the same as `wait` in an event loop, with a callable of `grpc.aio`."""
        # Awaited here and not in a task of its own, so that a cancellation reaches it at once: a
        # call that is cancelled before it was sent then sends nothing.
        pending = call(request, **settings)
        watching = asyncio.ensure_future(self._watch(pending))
        try:
            return self._received(await pending)
        except asyncio.CancelledError:
            if watching.done():
                watching.result()  # raises WrongProtocolError if `_watch` has cancelled the call
            raise
        except grpc.RpcError as error:
            await asyncio.to_thread(self._look_at, error)
            raise
        finally:
            watching.cancel()

    async def _watch(self, pending: Any) -> None:  # noqa: ANN401 - a call of grpc.aio
        """Cancel a call that takes long and cannot succeed.

        Raises:
            WrongProtocolError: see there.
        """
        await asyncio.sleep(_PATIENCE_SECONDS)
        try:
            await asyncio.to_thread(self._check)
        except WrongProtocolError:
            pending.cancel()
            raise

    def _received(self, answer: Any) -> Any:  # noqa: ANN401 - any message
        self.was_received = True
        return answer

    def _look_at(self, error: Any) -> None:  # noqa: ANN401 - grpc.RpcError has no `code` in its types
        """Note that a server has answered with an error, or raise WrongProtocolError."""
        if error.code() in _UNREACHED:
            self._check()
        else:
            self.was_received = True

    def _check(self) -> None:
        """Ask the server what it speaks.

        Raises:
            WrongProtocolError: it does not speak what the client does.
        """
        if self._tls and _speaks_plain_text(self._target):
            msg = (
                f"{self._target} speaks plain text, and the client TLS; leave out the credentials, "
                "or give the server a certificate"
            )
            raise WrongProtocolError(msg)
        if not self._tls and _speaks_tls(self._target):
            msg = (
                f"{self._target} speaks TLS, and the client plain text; give the client TLS "
                "credentials, for example of the server's certificate authority"
            )
            raise WrongProtocolError(msg)


def _speaks_plain_text(target: str) -> bool:
    """Return whether a server answers plain HTTP/2."""
    try:
        with _connect(target) as connection:
            connection.sendall(_PREFACE)
            header = connection.recv(_FRAME_HEADER_BYTES, socket.MSG_WAITALL)
    except (OSError, ValueError):
        return False
    return len(header) == _FRAME_HEADER_BYTES and header[0] == 0 and header[3] == _SETTINGS


def _speaks_tls(target: str) -> bool:
    """Return whether a server begins a TLS handshake; its certificate is not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        # If the handshake is interrupted in `wrap_socket`, nothing closes the socket.
        with (
            _connect(target) as connection,
            context.wrap_socket(connection, do_handshake_on_connect=False) as wrapped,
        ):
            wrapped.do_handshake()
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # a refusal in the words of TLS
    except (OSError, ValueError):
        return False


def _connect(target: str) -> socket.socket:
    """Connect to a gRPC target.

    Raises:
        OSError: nobody listens.
        ValueError: the target is not `host:port`, `dns:///host:port` or `unix:path`.
    """
    if target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PROBE_SECONDS)
        connection.connect(target.removeprefix("unix:").removeprefix("//"))
        return connection
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS)
