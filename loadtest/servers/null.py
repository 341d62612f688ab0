"""The null server: it answers every request at once with the same bytes, without a model.

A load test of the null server measures the load generator, both network stacks and an HTTP server
written in Rust. Its figures are the floor under those of a real server. Requests for metadata are
answered UNIMPLEMENTED, so that the null server can be the target of `run` as well.
"""

import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import h2corn
import numpy as np
import uvloop
from h2corn import ASGIApp, HTTPResponseStart, HTTPResponseTrailers, Receive, Scope, Send

from loadtest.settings.parser import Parser
from serving.errors import StatusCode
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictResponse

LISTENING = "listening on "


def application(answer: bytes) -> ASGIApp:
    """Return an ASGI application that gives every gRPC call and HTTP request the same answer.

    Args:
        answer: A gRPC message without its prefix, or the body of an HTTP answer.
    """
    grpc_body = b"\x00" + len(answer).to_bytes(4, "big") + answer
    ok, unimplemented = _trailers(StatusCode.OK), _trailers(StatusCode.UNIMPLEMENTED)

    async def answer_all(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        is_grpc = content_type.startswith(b"application/grpc")
        start: HTTPResponseStart = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", content_type if is_grpc else b"application/json")],
            "trailers": is_grpc,
        }
        await send(start)
        if is_grpc and scope["path"].endswith("Metadata"):
            await send({"type": "http.response.body", "body": b""})
            await send(unimplemented)
            return
        await send({"type": "http.response.body", "body": grpc_body if is_grpc else answer})
        if is_grpc:
            await send(ok)

    return answer_all


def _trailers(status: StatusCode) -> HTTPResponseTrailers:
    return {"type": "http.response.trailers", "headers": [(b"grpc-status", b"%d" % status)]}


def class_zero() -> bytes:
    """Return a serialised PredictResponse of one image of class 0, like a bundled classifier's."""
    response = PredictResponse()
    tensor_proto.encode(np.zeros(1, np.int64), response.outputs["classes"])
    tensor_proto.encode(np.eye(1, 10, dtype=np.float32), response.outputs["probabilities"])
    return response.SerializeToString()


async def serve(listener: socket.socket, answer: bytes) -> None:
    """Answer requests on a listening socket until the process ends."""
    config = h2corn.Config(
        bind=(f"fd://{listener.fileno()}",),
        grpc=True,
        access_log=False,
        lifespan="off",
        runtime_threads=1,
        loop="uvloop",
        max_concurrent_streams=4096,
        timeout_keep_alive=0,
    )
    await h2corn.Server(application(answer), config).serve()


def main(arguments: Sequence[str]) -> int:
    """Run the command line: print the address, then answer requests until a signal."""
    parser = Parser(prog="python -m loadtest null-server", description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port (default: any free one)")
    parser.add_argument(
        "--answer", type=Path, help="file with the answer (default: a PredictResponse of class 0)"
    )
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when standard input is closed"
    )
    values = parser.parse_args(arguments)
    if values.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    answer = values.answer.read_bytes() if values.answer else class_zero()
    with socket.create_server((values.host, values.port), backlog=1024) as listener:
        host, port = listener.getsockname()[:2]
        print(f"{LISTENING}{host}:{port}", flush=True)  # noqa: T201 - part of a command line
        uvloop.run(serve(listener, answer))
    return 0


def _exit_with_stdin() -> None:
    """End this process when standard input closes, which it does when the parent ends."""
    sys.stdin.buffer.read()
    os._exit(0)
