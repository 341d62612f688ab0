"""Compares this server with others in one run: `make bench-peers`, or `python tests/bench/peers`.

MLServer, Triton (started by PyTriton) and mosec serve the same SimCNN file with ONNX Runtime on one
thread and their own dynamic batching. All servers are pinned to one core and measured alternately;
h2load runs on another core and sends single images of 3,072 bytes. Before that, every server is
asked for a known image: a wrong answer ends the run. Figures are medians over the rounds. The last
line of output is a JSON document.

Each peer gets a separate environment under build/bench/peers, from its requirements file.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

sys.path[:0] = [str(Path(__file__).parents[1])]

import starting
from harness import CLIENT_CORE, ROOT, SERVER_CORE, request_body, serve
from starting import INFER_PATH, ask_kserve, ask_mosec, family, image, is_right, kserve_request

from serving.client import PREDICT_PATH
from serving.transport.grpc_wire import frame

IN_FLIGHT = (1, 32, 128)
GRPC_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@dataclass(frozen=True)
class Peer:
    """A running server, and the requests to send to it.

    Attributes:
        name: Name of the server and its protocol, for the table.
        process: The main process.
        port: The port that it listens on.
        path: Path of the URL.
        body: File with the request body for one image.
        h1: Whether to use HTTP/1.1, with one connection for each request in flight.
    """

    name: str
    process: psutil.Process
    port: int
    path: str
    body: Path
    h1: bool = False

    def load(self, in_flight: int, requests: int) -> tuple[float, float, int]:
        """Run h2load once.

        Returns:
            Requests per second, CPU microseconds of the server per request, and failed requests.
        """
        streams = ("--h1", "-c", str(in_flight)) if self.h1 else ("-c", "1", "-m", str(in_flight))
        headers = () if self.h1 else GRPC_HEADERS
        before = _cpu_seconds(self.process)
        text = subprocess.run(
            [
                *("taskset", "-c", str(CLIENT_CORE), "h2load", "-d", str(self.body), *streams),
                *("-n", str(requests), *headers, f"http://127.0.0.1:{self.port}{self.path}"),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        cpu = _cpu_seconds(self.process) - before
        rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
        succeeded = re.search(r"(\d+) succeeded", text)
        if not rate or not succeeded:
            sys.exit(f"h2load printed no result for {self.name}:\n{text}")
        return float(rate[1]), 1e6 * cpu / requests, requests - int(succeeded[1])

    def memory_mib(self) -> float:
        """Return the resident memory of all processes of the server in MiB."""
        return sum(process.memory_info().rss for process in family(self.process)) / 2**20


def _cpu_seconds(process: psutil.Process) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in family(process))


@contextlib.contextmanager
def peers(model: Path, folder: Path, expected: np.ndarray) -> Iterator[list[Peer]]:
    """Start all servers, and yield those that answer; idle servers take next to no CPU time."""
    infer = folder / "infer.bin"
    infer.parent.mkdir(parents=True, exist_ok=True)
    infer.write_bytes(frame(kserve_request()))
    pixels = folder / "pixels.bin"
    pixels.write_bytes(image().tobytes())
    models = folder / "models"
    shutil.copytree(model.parents[1], models / "simcnn", dirs_exist_ok=True)
    with contextlib.ExitStack() as stack:
        server, _ = stack.enter_context(serve(models, [SERVER_CORE], "--precision", "fp32"))
        predict = request_body(folder, "simcnn", 1)
        found = [
            Peer("this server, TFS gRPC", server.process, server.port, PREDICT_PATH, predict),
            Peer("this server, KServe gRPC", server.process, server.port, INFER_PATH, infer),
        ]
        is_right(ask_kserve, server.port, expected, "this server", folder)

        process, port = stack.enter_context(starting.mosec(model, folder))
        if is_right(ask_mosec, port, expected, "mosec", folder / "mosec-run"):
            found.append(Peer("mosec", process, port, "/inference", pixels, h1=True))

        process, port = stack.enter_context(starting.triton(model, folder))
        if is_right(ask_kserve, port, expected, "Triton", folder / "triton-run"):
            found.append(Peer("Triton (PyTriton)", process, port, INFER_PATH, infer))

        process, port = stack.enter_context(starting.mlserver(model, folder))
        if is_right(ask_kserve, port, expected, "MLServer", folder / "mlserver-run"):
            found.append(Peer("MLServer", process, port, INFER_PATH, infer))
        yield found


def measure(found: list[Peer], rounds: int, requests: int) -> list[dict]:
    """Measure all servers alternately; return the medians over the rounds."""
    rows = []
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
    parser.add_argument("--output", type=Path, help="file to write the JSON document to")
    parser.add_argument("--cache-dir", type=Path, default=ROOT / "build" / "bench" / "peers")
    arguments = parser.parse_args()
    folder = arguments.cache_dir.resolve()
    model = ROOT / "models" / "simcnn" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"images": image()})[0][0]
    with peers(model, folder, expected) as found:
        rows = measure(found, arguments.rounds, arguments.requests)
    for row in rows:
        print(
            f"{row['in_flight']:4} in flight  {row['server']:26}"
            f"{row['requests_per_second']:9,.0f} req/s {row['server_cpu_us_per_request']:7.0f} us "
            f"server CPU {row['memory_mib']:6.0f} MiB  {row['failed']} failed"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
