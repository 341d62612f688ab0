"""gRPC by the grpcio library: the method table as a grpc.aio server, for `--front grpcio`.

The second choice: it costs several times the CPU time of the ASGI front, but it is gRPC's own.
"""

import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from serving import stage_times
from serving.transport import channel_arguments, failures, tls
from serving.transport.grpc_wire import cut_message
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.listeners import cannot_listen, claim, make_room_for_socket
from serving.transport.method_table import Call, Method, StreamMethod, UnaryMethod, parse
from serving.transport.network_config import NetworkConfig

if TYPE_CHECKING:
    import socket

logger = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioServer:
    """A grpc.aio server on a port of its own."""

    def __init__(
        self, methods: Mapping[str, Method], config: NetworkConfig, *, budget: ByteBudget
    ) -> None:
        """Prepare; nothing is bound yet.

        Args:
            methods: By path, see `rpc.method_table`.
            config: Address, limits and `grpc_channel_arguments`.
            budget: Of all requests together. The library shows a request when it is whole, so
                what still arrives is not counted.

        Raises:
            ConfigError: `grpc_channel_arguments` cannot be understood.
        """
        self._methods = methods
        self._config = config
        self._budget = budget
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": config.max_message_bytes,
            "grpc.max_send_message_length": -1,
            # Without workers a second server on the port is a mistake, which this one must notice.
            "grpc.so_reuseport": int(config.is_shared),
        }
        if config.idle_connection_seconds:
            options["grpc.max_connection_idle_ms"] = round(config.idle_connection_seconds * 1000)
        self._options = options | channel_arguments.parse(config.grpc_channel_arguments)
        self._server: grpc.aio.Server | None = None
        self._claimed: socket.socket | None = None

    def claim(self) -> int:
        """Keep the port for `start`, because the library listens as soon as it has one.

        Returns:
            The port.

        Raises:
            ConfigError: it cannot be had, or a server listens on the Unix socket.
        """
        if self._config.grpc_socket_path is not None:
            make_room_for_socket(self._config.grpc_socket_path)
        # The library wants an IPv6 address in brackets, sockets want it without.
        self._claimed = claim(self._config.host.strip("[]"), self._config.port)
        return int(self._claimed.getsockname()[1])

    async def start(self, certificates: tls.TlsConfig | None) -> int:
        """Accept connections.

        Args:
            certificates: For the port and the Unix socket; None for plain text.

        Returns:
            The port.

        Raises:
            ConfigError: an address cannot be had.
        """
        path = self._config.grpc_socket_path
        if path is not None:
            # The library would remove whatever socket is there, a living server's too.
            make_room_for_socket(path)
        server = grpc.aio.server(
            handlers=[_Handler(self._methods, self._budget)],
            options=list(self._options.items()),
            compression=grpc.Compression.NoCompression,
        )
        port = self._config.port
        if self._claimed is not None:
            port = self._claimed.getsockname()[1]
            self._claimed.close()
        address = f"{self._config.host}:{port}"
        try:
            port = _add_port(server, address, certificates)
            if path is not None:
                address = f"unix:{path.absolute()}"
                _add_port(server, address, certificates)
        except RuntimeError as error:
            raise cannot_listen(address, "the address is taken or does not exist") from error
        await server.start()
        self._server = server
        return port

    async def stop(self) -> None:
        """Accept nothing more and let the calls in flight finish within `drain_seconds`."""
        if self._claimed is not None:
            self._claimed.close()
        if self._server is not None:
            await self._server.stop(self._config.drain_seconds)


def _add_port(server: grpc.aio.Server, address: str, certificates: tls.TlsConfig | None) -> int:
    """Have a server listen on an address, as TensorFlow Serving does: a Unix socket has TLS too.

    Raises:
        RuntimeError: the address cannot be had.
    """
    if certificates is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, _credentials(certificates))


class _Handler(grpc.GenericRpcHandler):
    """Looks a call's path up in the method table.

    Messages stay bytes on grpcio's side, so that malformed ones are answered as on the ASGI front.
    """

    def __init__(self, methods: Mapping[str, Method], budget: ByteBudget) -> None:
        self._methods = methods
        self._budget = budget

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        path = handler_call_details.method
        method = self._methods.get(path)
        if isinstance(method, UnaryMethod):
            return grpc.unary_unary_rpc_method_handler(_unary(method, self._budget))
        if isinstance(method, StreamMethod):
            return grpc.stream_stream_rpc_method_handler(_stream(method, self._budget))
        return grpc.unary_unary_rpc_method_handler(_unknown(path))


def _unary(method: UnaryMethod[Any], budget: ByteBudget) -> Any:  # noqa: ANN401 - grpcio's types know no bytes
    async def answer(request: bytes, context: Any) -> bytes:  # noqa: ANN401 - likewise
        headers = _headers(context)
        times = stage_times.begin(headers)
        hold = Hold(budget, context.peer())
        try:
            hold.take(len(request))
            response = await method.handler(
                parse(method, request, hold), _call(context, headers, hold)
            )
            payload = response.SerializeToString()
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _abort(context, error, method.path)
        finally:
            hold.release()
        if times:
            key, value = times.header()
            context.set_trailing_metadata(((key.decode(), value.decode()),))
        return payload

    return answer


def _stream(method: StreamMethod[Any], budget: ByteBudget) -> Any:  # noqa: ANN401 - as above
    async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401 - as above
        hold = Hold(budget)

        async def parsed() -> AsyncIterator[Any]:
            async for request in requests:
                hold.take(len(request))
                yield parse(method, request)

        try:
            async for response in method.handler(parsed(), _call(context, _headers(context), hold)):
                yield response.SerializeToString()
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _abort(context, error, method.path)
        finally:
            hold.release()

    return answer


def _unknown(path: str) -> Any:  # noqa: ANN401 - as above
    async def answer(_request: bytes, context: Any) -> NoReturn:  # noqa: ANN401 - as above
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            cut_message(f"unknown method {path}; server reflection lists the methods there are"),
        )
        raise AssertionError  # abort raises

    return answer


def _call(context: Any, headers: Mapping[bytes, bytes], hold: Hold) -> Call:  # noqa: ANN401 - grpc.aio.ServicerContext
    remaining = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    return Call(deadline, headers, hold)


def _headers(context: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - grpc.aio.ServicerContext
    """The call's metadata, as the ASGI front has it."""
    return {
        key.encode(): value if isinstance(value, bytes) else value.encode()
        for key, value in context.invocation_metadata()
    }


async def _abort(context: Any, error: Exception, path: str) -> NoReturn:  # noqa: ANN401 - as above
    """End a call with an error's status; unexpected errors are logged, not shown."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, message, identity = failures.status_of(error, path, _headers(context), logger)
    trailers = ((failures.REQUEST_ID.decode(), identity),)
    await context.abort(_CODES[int(code)], cut_message(message), trailers)
    raise AssertionError  # abort raises


def _credentials(certificates: tls.TlsConfig) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(certificates.key, certificates.certificate)],
        root_certificates=certificates.client_ca or None,
        require_client_auth=bool(certificates.client_ca),
    )
