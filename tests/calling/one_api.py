"""Servers of one protocol, and most of one API, as the ports of other model servers are.

They pass calls on to a server of this project, whose ports speak both protocols and both APIs.
"""

import contextlib
import http.client
import ssl
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from certificates import Pair

SECONDS = 30
GRPC_PREFIXES = {"tfs": "/tensorflow.serving.", "kserve": "/inference."}
REST_PREFIXES = {"tfs": "/v1/", "kserve": "/v2/", "both": "/"}


@contextlib.contextmanager
def grpc_alone(behind: str, api: str, pair: Pair | None = None) -> Iterator[str]:
    """Serve one API over gRPC with the gRPC library; yield the address.

    Args:
        behind: Address of the server that answers.
        api: "tfs" or "kserve".
        pair: Certificate and key, to serve with TLS.
    """

    class Forward(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if not call.method.startswith(GRPC_PREFIXES[api]):
                return None  # the library answers UNIMPLEMENTED
            forward = channel.unary_unary(call.method)

            def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
                try:
                    return forward(request, timeout=SECONDS)
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())

            return grpc.unary_unary_rpc_method_handler(handle)

    with grpc.insecure_channel(behind) as channel, ThreadPoolExecutor() as pool:
        server = grpc.server(pool, handlers=[Forward()])
        if pair is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            own = grpc.ssl_server_credentials([(pair.key.encode(), pair.certificate.encode())])
            port = server.add_secure_port("127.0.0.1:0", own)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def rest_alone(
    behind: str, api: str, pair: Pair | None = None, *, takes_compression: bool = True
) -> Iterator[str]:
    """Serve one API over HTTP/1.1 with Python's own server; yield the address.

    Args:
        behind: Address of the server that answers.
        api: "tfs", "kserve" or "both".
        pair: Certificate and key, to serve with TLS.
        takes_compression: Whether compressed requests are answered, or refused with status 415.
    """

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not self.path.startswith(REST_PREFIXES[api]):
                self.send_error(404)
                return
            if "content-encoding" in self.headers and not takes_compression:
                self.send_error(415)
                return
            connection = http.client.HTTPConnection(behind, timeout=SECONDS)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                content = response.read()
            self.send_response(response.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing about clients that speak something else."""

    with Server(("127.0.0.1", 0), Forward) as server:
        if pair is not None:
            server.socket = _tls(pair).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _tls(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair.pem"
        file.write_text(pair.certificate + pair.key)
        context.load_cert_chain(file)
    return context
