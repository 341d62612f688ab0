"""Measure the Python of a request without the web server: CPU time of the event loop's thread.

The gRPC application gets the events that h2corn sends for a small call: the body in one piece, then
its end. 32 calls are in flight; each run waits for the answers of all before the next 32. The
lowest of several runs is printed, because other work on the machine can only add time::

    taskset -c 0 python tests/bench/in_memory.py identity Predict
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop
from harness import INFER_PATH, PREDICT_PATH, ROOT, infer_body, request_body, write_null_model

from serving.program import parse
from serving.server import ModelServer
from serving.transport.admission import Admission
from serving.transport.asgi import Application, Receive
from serving.transport.limits.traffic import TrafficTable

IN_FLIGHT = 32
RUNS = 9
HEADERS = (
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"content-length", b"64"),
    (b"user-agent", b"h2load nghttp2"),
    (b"host", b"127.0.0.1:8500"),
)


async def check(application: Application, scope: dict[str, Any], receive: Receive) -> None:
    """End the program if a call is not answered OK."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    if (b"grpc-status", b"0") not in sent[-1].get("headers", ()):
        sys.exit(f"the call failed: {sent}")


async def measure(models_dir: Path, body: bytes, path: str, requests: int) -> list[float]:
    """Return the microseconds of the event loop's thread a request, for each run."""
    config, _ = parse(["--models_dir", str(models_dir), "--host", "127.0.0.1", "--port", "0"])
    server = ModelServer(config)
    await server.start()
    applications = server._applications
    application = Admission(applications.grpc(applications.http), TrafficTable())
    loop = asyncio.get_running_loop()

    def ready(value: object) -> "asyncio.Future[Any]":
        future = loop.create_future()
        future.set_result(value)
        return future

    # Functions in C, as those of h2corn: `getattr` returns the future and ignores the message.
    send = partial(getattr, SimpleNamespace(sent=ready(None)), "sent")

    def call() -> tuple[dict[str, Any], Any]:
        scope = {"type": "http", "path": path, "headers": list(HEADERS), "client": ("::1", 5000)}
        piece = {"type": "http.request", "body": bytes(bytearray(body)), "more_body": True}
        return scope, iter([ready(piece), ready({"type": "http.request"})]).__next__

    async def answer_all() -> float:
        calls = [call() for _ in range(IN_FLIGHT)]
        began = time.thread_time()
        tasks = [loop.create_task(application(scope, receive, send)) for scope, receive in calls]
        for task in tasks:
            await task
        return time.thread_time() - began

    async def run(count: int) -> float:
        rounds = max(1, count // IN_FLIGHT)
        return 1e6 * sum([await answer_all() for _ in range(rounds)]) / (rounds * IN_FLIGHT)

    await check(application, *call())
    await run(requests // RUNS)  # fills caches
    figures = [await run(requests // RUNS) for _ in range(RUNS)]
    await server.stop()
    return figures


def main() -> None:
    """Measure one method of one model, and print the lowest and the median figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=("identity", "simcnn"))
    parser.add_argument("method", choices=("Predict", "ModelInfer"))
    parser.add_argument("--requests", type=int, default=20_000)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        models = ROOT / "models"
        if arguments.model == "identity":
            models = Path(folder) / "models"
            write_null_model(models)
        make, path = (
            (request_body, PREDICT_PATH)
            if arguments.method == "Predict"
            else (infer_body, INFER_PATH)
        )
        body = make(Path(folder), arguments.model, 1).read_bytes()
        figures = sorted(uvloop.run(measure(models, body, path, arguments.requests)))
    print(
        f"{arguments.model} {arguments.method}: {figures[0]:.2f} us a request in the event loop's "
        f"thread, median {figures[len(figures) // 2]:.2f} of {len(figures)} runs"
    )


if __name__ == "__main__":
    main()
