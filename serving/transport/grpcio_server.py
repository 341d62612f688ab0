"""gRPC by the grpcio library: a grpc.aio server for the method table, used with `--front grpcio`.

It needs several times the CPU time of the ASGI front, but grpcio is gRPC's own library.
"""

import logging
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio

from serving import stage_times
from serving.access.gate import Gate
from serving.access.usage import Usage
from serving.transport import channel_arguments, failures, tls
from serving.transport.grpc_wire import cut_message
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.limits.flows import Flows
from serving.transport.listeners import cannot_listen, claim, make_room_for_socket
from serving.transport.method_table import Call, Method, StreamMethod, UnaryMethod, parse
from serving.transport.network_config import NetworkConfig

if TYPE_CHECKING:
    import socket

logger = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioServer:
    """A grpc.aio server on its own port, and on the Unix socket if the settings name one."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        config: NetworkConfig,
        *,
        budget: ByteBudget,
        gate: Gate | None = None,
    ) -> None:
        """Compute the options of the gRPC library; no port is bound yet.

        Args:
            methods: The methods by path, see `method_table.method_table`.
            config: Address, limits and `grpc_channel_arguments`.
            budget: The byte budget of all requests together. grpcio hands over complete requests
                only, so bytes still in transit are not counted.
            gate: Checks who calls; None: everyone may call all.

        Raises:
            ConfigError: `grpc_channel_arguments` cannot be parsed.
        """
        self._methods = methods
        self._config = config
        self._budget = budget
        self._gate = gate
        self._flows = Flows(config.trusted_proxies)
        options: dict[str, int | str] = {
            "grpc.max_receive_message_length": config.max_message_bytes,
            "grpc.max_send_message_length": -1,
            # Without workers, a second server on the same port is a mistake: binding must fail.
            "grpc.so_reuseport": int(config.is_shared),
        }
        if config.idle_connection_seconds:
            options["grpc.max_connection_idle_ms"] = round(config.idle_connection_seconds * 1000)
        self._options = options | channel_arguments.parse(config.grpc_channel_arguments)
        self._certificates: tls.TlsConfig | None = None
        self._server: grpc.aio.Server | None = None
        self._claimed: socket.socket | None = None

    def claim(self) -> int:
        """Bind the port without listening on it, and keep it until `start`.

        grpcio itself listens on a port as soon as it binds it.

        Returns:
            The port.

        Raises:
            ConfigError: the port cannot be bound, or a server listens on the Unix socket.
        """
        if self._config.grpc_socket_path is not None:
            make_room_for_socket(self._config.grpc_socket_path)
        # grpcio expects an IPv6 address in brackets, sockets expect it without.
        self._claimed = claim(self._config.host.strip("[]"), self._config.port)
        return int(self._claimed.getsockname()[1])

    async def start(self, certificates: tls.TlsConfig | None) -> int:
        """Accept connections.

        Args:
            certificates: TLS for the port and the Unix socket; None for plain text.

        Returns:
            The port.

        Raises:
            ConfigError: the server cannot listen on an address.
        """
        self._certificates = certificates
        path = self._config.grpc_socket_path
        if path is not None:
            # grpcio would remove any socket at this path, even that of a running server.
            make_room_for_socket(path)
        server = grpc.aio.server(
            handlers=[_Handler(self._methods, self._budget, self._gate, self._flows)],
            options=list(self._options.items()),
            compression=grpc.Compression.NoCompression,
        )
        port = self._config.port
        if self._claimed is not None:
            port = self._claimed.getsockname()[1]
            self._claimed.close()
        address = f"{self._config.host}:{port}"
        try:
            port = self._add_port(server, address)
            if path is not None:
                address = f"unix:{path.absolute()}"
                self._add_port(server, address)
        except RuntimeError as error:
            raise cannot_listen(address, "the address is taken or does not exist") from error
        await server.start()
        self._server = server
        return port

    def _add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Make a server listen on an address; return the port.

        As in TensorFlow Serving, TLS applies to a Unix socket too.

        Raises:
            RuntimeError: the server cannot listen on the address.
        """
        if self._certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials(self._certificates))

    def _credentials(self, certificates: tls.TlsConfig) -> grpc.ServerCredentials:
        """Return credentials that follow `change_certificates`."""
        given = certificates

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """Return other certificates for the next handshakes, or None to keep those of now.

            grpcio asks for them in a thread of its own, before each handshake.
            """
            nonlocal given
            wanted = self._certificates
            if wanted is None or wanted is given:
                return None
            given = wanted
            return _configuration(wanted)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(certificates),
            fetch,  # type: ignore[arg-type]  # grpcio's documentation allows None, its types do not
            bool(certificates.client_ca),
        )

    async def change_certificates(self, certificates: tls.PortCertificates) -> None:
        """Show new connections other certificates; open connections go on with the old ones.

        Args:
            certificates: The new certificates. If the first ones had no `client_ca`, clients still
                need no certificate.
        """
        self._certificates = certificates.grpc

    async def stop(self) -> None:
        """Stop accepting, and let the calls in flight finish within `drain_seconds`."""
        if self._claimed is not None:
            self._claimed.close()
        if self._server is not None:
            await self._server.stop(self._config.drain_seconds)


class _Handler(grpc.GenericRpcHandler):
    """Finds the handler of a call in the method table, by the call's path.

    grpcio gets no (de)serializers and hands over bytes. A malformed message is therefore answered
    as on the ASGI front.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        budget: ByteBudget,
        gate: Gate | None,
        flows: Flows,
    ) -> None:
        self._methods = methods
        self._of_calls = (budget, gate, flows)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        path = handler_call_details.method
        method = self._methods.get(path)
        if isinstance(method, UnaryMethod):
            return grpc.unary_unary_rpc_method_handler(_unary(method, *self._of_calls))
        if isinstance(method, StreamMethod):
            return grpc.stream_stream_rpc_method_handler(_stream(method, *self._of_calls))
        return grpc.unary_unary_rpc_method_handler(_unknown(path))


def _unary(method: UnaryMethod[Any], budget: ByteBudget, gate: Gate | None, flows: Flows) -> Any:  # noqa: ANN401 - grpcio's types know no bytes
    async def answer(request: bytes, context: Any) -> bytes:  # noqa: ANN401 - as above
        headers = _headers(context)
        times = stage_times.begin(headers)
        hold = Hold(budget, context.peer())
        usage = None
        try:
            usage = _enter(gate, method, headers, context)
            hold.flow = flows.begin(_connection(hold.caller), headers)
            hold.take(len(request))
            response = await method.handler(
                parse(method, request, hold), _call(context, headers, hold)
            )
            payload = response.SerializeToString()
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _abort(context, error, method.path)
        finally:
            hold.release()
            if usage is not None:
                usage.leave()
        if times:
            key, value = times.header()
            context.set_trailing_metadata(((key.decode(), value.decode()),))
        return payload

    return answer


def _stream(method: StreamMethod[Any], budget: ByteBudget, gate: Gate | None, flows: Flows) -> Any:  # noqa: ANN401 - as above
    async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401 - as above
        hold = Hold(budget, context.peer())
        headers = _headers(context)
        usage = None

        async def parsed() -> AsyncIterator[Any]:
            async for request in requests:
                hold.take(len(request))
                yield parse(method, request)

        try:
            usage = _enter(gate, method, headers, context)
            hold.flow = flows.begin(_connection(hold.caller), headers)
            async for response in method.handler(parsed(), _call(context, headers, hold)):
                yield response.SerializeToString()
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _abort(context, error, method.path)
        finally:
            hold.release()
            if usage is not None:
                usage.leave()

    return answer


def _unknown(path: str) -> Any:  # noqa: ANN401 - as above
    async def answer(_request: bytes, context: Any) -> NoReturn:  # noqa: ANN401 - as above
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            cut_message(f"unknown method {path}; server reflection lists the available methods"),
        )
        raise AssertionError  # abort raises

    return answer


def _enter(
    gate: Gate | None,
    method: Method,
    headers: Mapping[bytes, bytes],
    context: Any,  # noqa: ANN401 - grpc.aio.ServicerContext
) -> Usage | None:
    """Check who calls; see `Gate.enter`."""
    if gate is None:
        return None
    certificate = ""
    if gate.reads_certificates:
        names = context.auth_context().get("x509_subject", [b""])
        certificate = names[0].decode(errors="replace")
    return gate.enter(method.role, headers, certificate)


def _connection(peer: Hashable) -> Hashable:
    """Return address and port of a peer as grpcio writes it: `ipv4:127.0.0.1:80`; None for others.

    An IPv6 address is in percent-encoded brackets: `ipv6:%5B::1%5D:80`.
    """
    family, _, rest = unquote(str(peer)).partition(":")
    address, _, port = rest.rpartition(":")
    return (address.strip("[]"), port) if family in {"ipv4", "ipv6"} else None


def _call(context: Any, headers: Mapping[bytes, bytes], hold: Hold) -> Call:  # noqa: ANN401 - grpc.aio.ServicerContext
    remaining = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    return Call(deadline, headers, hold)


def _headers(context: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - grpc.aio.ServicerContext
    """Return the call's metadata as bytes, as on the ASGI front."""
    return {
        key.encode(): value if isinstance(value, bytes) else value.encode()
        for key, value in context.invocation_metadata()
    }


async def _abort(context: Any, error: Exception, path: str) -> NoReturn:  # noqa: ANN401 - as above
    """End a call with an error's status; the text of an unexpected error is only logged."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, message, further = failures.status_of(error, path, _headers(context), logger)
    trailers = tuple((name.decode(), value.decode()) for name, value in further)
    await context.abort(_CODES[int(code)], cut_message(message), trailers)
    raise AssertionError  # abort raises


def _configuration(certificates: tls.TlsConfig) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.certificate)],
        root_certificates=certificates.client_ca or None,
    )
