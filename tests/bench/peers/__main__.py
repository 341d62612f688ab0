"""Compares this server with others in one run: `make bench-peers`, or `python tests/bench/peers`.

mosec, Triton (started by PyTriton), MLServer, LitServe, BentoML and Ray Serve serve the same SimCNN
file with ONNX Runtime on one thread and their own dynamic batching. All servers are pinned to one
core and measured alternately; h2load runs on another core and sends single images of 3,072 bytes,
to LitServe and BentoML as Base64 in JSON. Before that, every server is asked for a known image: a
wrong answer ends the run. Figures are medians over the rounds. The last line of output is a JSON
document, with the servers that were left out and why.

Each peer gets a separate environment under build/bench/peers, from its requirements file: the first
run installs 1.5 GB. Some servers take CPU time of the core that they share while they are idle (the
column `idle`), so all but the measured one are stopped by a signal.
TensorFlow Serving is left out, because it is distributed only as a container image.
"""

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

sys.path[:0] = [str(Path(__file__).parents[1])]

import starting
from harness import CLIENT_CORE, ROOT, SERVER_CORE, infer_body, request_body, serve
from starting import (
    INFER_PATH,
    JSON,
    LeftOutError,
    ask_json,
    ask_kserve,
    ask_pixels,
    family,
    image,
    json_request,
    kserve_request,
    wait_until_right,
)

from serving.client import PREDICT_PATH
from serving.transport.grpc_wire import frame

IN_FLIGHT = (1, 32, 128)
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
_IDLE_SECONDS = 3.0
_WAKE_SECONDS = 0.3


@dataclass(frozen=True)
class Kind:
    """How a peer is started, and the requests that it takes.

    Attributes:
        name: Name of the server, for the table.
        start: Starts it, see `starting`; the function's name is that of its environment.
        ask: Returns its answer to the known image.
        path: Path of the URL.
        body: Request for one image.
        headers: Headers of HTTP/1.1, as `name: value`; None for gRPC.
    """

    name: str
    start: Callable[[Path, Path], contextlib.AbstractContextManager]
    ask: Callable[[int], np.ndarray]
    path: str
    body: Callable[[], bytes]
    headers: Sequence[str] | None = None


def _kserve(name: str, start: Callable) -> Kind:
    return Kind(name, start, ask_kserve, INFER_PATH, lambda: frame(kserve_request()))


def _pixels(name: str, start: Callable, path: str) -> Kind:
    return Kind(name, start, partial(ask_pixels, path=path), path, lambda: image().tobytes(), ())


def _json(name: str, start: Callable, path: str) -> Kind:
    headers = (f"content-type: {JSON}",)
    return Kind(name, start, partial(ask_json, path=path), path, json_request, headers)


KINDS = (
    _pixels("mosec", starting.mosec, "/inference"),
    _kserve("Triton (PyTriton)", starting.triton),
    _kserve("MLServer", starting.mlserver),
    _json("LitServe", starting.litserve, "/predict"),
    _json("BentoML", starting.bentoml, "/classify"),
    _pixels("Ray Serve", starting.ray, "/"),
)


@dataclass(frozen=True)
class Peer:
    """A running server, and the requests to send to it.

    Attributes:
        name: Name of the server and its protocol, for the table.
        process: The main process.
        port: The port that it listens on.
        path: Path of the URL.
        body: File with the request body for one image.
        headers: See Kind. HTTP/1.1 has one connection for each request in flight.
    """

    name: str
    process: psutil.Process
    port: int
    path: str
    body: Path
    headers: Sequence[str] | None = None

    def load(self, in_flight: int, requests: int) -> tuple[float, float, int]:
        """Wake the server, run h2load once, and stop the server again.

        Returns:
            Requests per second, CPU microseconds of the server per request, and failed requests.
        """
        streams, headers = ("-c", "1", "-m", str(in_flight)), GRPC_HEADERS
        if self.headers is not None:
            streams, headers = ("--h1", "-c", str(in_flight)), self.headers
        self.wake()
        time.sleep(_WAKE_SECONDS)
        before = _cpu_seconds(self.process)
        text = subprocess.run(
            [
                *("taskset", "-c", str(CLIENT_CORE), "h2load", "-d", str(self.body), *streams),
                *("-n", str(requests), *(word for each in headers for word in ("-H", each))),
                f"http://127.0.0.1:{self.port}{self.path}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        cpu = _cpu_seconds(self.process) - before
        self.stop()
        rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
        succeeded = re.search(r"(\d+) succeeded", text)
        if not rate or not succeeded:
            sys.exit(f"h2load printed no result for {self.name}:\n{text}")
        return float(rate[1]), 1e6 * cpu / requests, requests - int(succeeded[1])

    def stop(self) -> None:
        """Stop all processes of the server until `wake`."""
        for member in family(self.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.suspend()

    def wake(self) -> None:
        """Let the processes run again."""
        for member in family(self.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()

    def memory_mib(self) -> float:
        """Return the resident memory of all processes of the server in MiB."""
        return sum(process.memory_info().rss for process in family(self.process)) / 2**20


def _cpu_seconds(process: psutil.Process) -> float:
    seconds = 0.0
    for member in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(member.cpu_times()[:2])
    return seconds


@contextlib.contextmanager
def peers(
    model: Path, folder: Path, expected: np.ndarray, kinds: Sequence[Kind]
) -> Iterator[tuple[list[Peer], dict[str, str]]]:
    """Start all servers, and yield those that answer, and why others are left out."""
    models = folder / "models"
    shutil.copytree(model.parents[1], models / "simcnn", dirs_exist_ok=True)
    left_out = {}
    with contextlib.ExitStack() as stack:
        server, _ = stack.enter_context(serve(models, [SERVER_CORE], "--precision", "fp32"))
        predict, infer = request_body(folder, "simcnn", 1), infer_body(folder, "simcnn", 1)
        found = [
            Peer("this server, TFS gRPC", server.process, server.port, PREDICT_PATH, predict),
            Peer("this server, KServe gRPC", server.process, server.port, INFER_PATH, infer),
        ]
        wait_until_right(ask_kserve, server.process, server.port, expected, folder)
        for kind in kinds:
            try:
                found.append(_started(kind, stack, model, folder, expected))
            except LeftOutError as error:
                left_out[kind.name] = str(error)
                print(f"{kind.name} is left out: {error}", flush=True)
        try:
            yield found, left_out
        finally:
            for peer in found:
                peer.wake()  # a stopped process does not end by SIGTERM


def _started(
    kind: Kind, stack: contextlib.ExitStack, model: Path, folder: Path, expected: np.ndarray
) -> Peer:
    """Start a peer, which ends with the stack; one that does not answer ends at once.

    Raises:
        LeftOutError: It cannot be started.
    """
    with contextlib.ExitStack() as own:
        process, port = own.enter_context(kind.start(model, folder))
        name = kind.start.__name__
        wait_until_right(kind.ask, process, port, expected, folder / f"{name}-run" / "log")
        stack.push(own.pop_all())
    body = folder / f"{name}.body"
    body.write_bytes(kind.body())
    return Peer(kind.name, process, port, kind.path, body, kind.headers)


def idle_shares(found: list[Peer]) -> dict[str, float]:
    """Return the CPU time that each server takes without requests, in per cent of a core."""
    before = [_cpu_seconds(peer.process) for peer in found]
    time.sleep(_IDLE_SECONDS)
    return {
        peer.name: round(100 * (_cpu_seconds(peer.process) - earlier) / _IDLE_SECONDS, 1)
        for peer, earlier in zip(found, before, strict=True)
    }


def measure(found: list[Peer], rounds: int, requests: int) -> list[dict]:
    """Measure all servers alternately; return the medians over the rounds."""
    rows, idle = [], idle_shares(found)
    for peer in found:
        peer.stop()
    for in_flight in IN_FLIGHT:
        for peer in found:  # warm-up
            peer.load(in_flight, max(200, requests // 10))
        loads: dict[str, list[tuple[float, float, int]]] = {peer.name: [] for peer in found}
        for _ in range(rounds):
            for peer in found:
                loads[peer.name].append(peer.load(in_flight, requests))
        for peer in found:
            rates, cpu, failed = zip(*loads[peer.name], strict=True)
            ours = [rate for rate, _, _ in loads[found[0].name]]
            rows.append(
                {
                    "server": peer.name,
                    "in_flight": in_flight,
                    "requests": requests * rounds,
                    "failed": sum(failed),
                    "requests_per_second": round(statistics.median(rates), 1),
                    "this_server_is_faster_by": round(
                        statistics.median(a / b for a, b in zip(ours, rates, strict=True)), 2
                    ),
                    "server_cpu_us_per_request": round(statistics.median(cpu), 1),
                    "memory_mib": round(peer.memory_mib(), 1),
                    "idle_cpu_percent": idle[peer.name],
                }
            )
    return rows


def main() -> None:
    """Measure all servers; print a table and a JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument(
        "--requests", type=int, default=4000, help="requests in a round (default: 4000)"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[kind.start.__name__ for kind in KINDS],
        help="peers to measure this server with (default: all)",
    )
    parser.add_argument("--output", type=Path, help="file to write the JSON document to")
    parser.add_argument("--cache-dir", type=Path, default=ROOT / "build" / "bench" / "peers")
    arguments = parser.parse_args()
    folder = arguments.cache_dir.resolve()
    model = ROOT / "models" / "simcnn" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"images": image()})[0][0]
    kinds = [
        kind for kind in KINDS if arguments.only is None or kind.start.__name__ in arguments.only
    ]
    with peers(model, folder, expected, kinds) as (found, left_out):
        rows = measure(found, arguments.rounds, arguments.requests)
    for row in rows:
        print(
            f"{row['in_flight']:4} in flight  {row['server']:26}"
            f"{row['requests_per_second']:9,.0f} req/s {row['server_cpu_us_per_request']:7.0f} us "
            f"server CPU {row['memory_mib']:6.0f} MiB  idle {row['idle_cpu_percent']:4.1f} %  "
            f"{row['failed']} failed"
        )
    for name, reason in left_out.items():
        print(f"{name} was left out: {reason}")
    result = {"rows": rows, "left_out": left_out}
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
