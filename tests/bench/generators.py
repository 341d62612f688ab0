"""Compares the load test with h2load and perf_analyzer: `make bench-generators`.

One server of this checkout, pinned to one core, is measured by each generator in turns, pinned to
the other core; the order is reversed from round to round. All are closed loops with the same number
of requests in flight, and send one image again and again; perf_analyzer sends for three windows of
2 s, the others a number of requests. The server must be the limit, not the generator: the
bundled ResNet50 takes some milliseconds an image, and the load test some tenths. The server runs
each request by itself: with batches, its speed would depend on how close together a generator sends
what it has in flight (h2load in one piece, the load test and perf_analyzer one by one, which made
20 % here), and the rates would differ although each is right. The result is the
median rate of each, and the median over the rounds of the load test's rate over each other one.

Over gRPC, the load test and h2load send the same bytes. perf_analyzer makes its own message from
the same image, and can only write it as `int_val`, which takes the server some 15 us more than the
`tensor_content` of the others. Over REST, all three send the same bytes: perf_analyzer's service
kind "openai" posts any JSON.

perf_analyzer is a program in the wheel of tritonclient 2.50, which needs libb64-0d and
libcudart.so.12 (in the wheel nvidia-cuda-runtime-cu12):

    apt-get install libb64-0d
    pip download --no-deps -d DIR tritonclient==2.50.0 nvidia-cuda-runtime-cu12
    cd DIR && for wheel in *.whl; do unzip -q "$wheel"; done
    cp tritonclient-2.50.0.data/data/bin/perf_analyzer . && chmod +x perf_analyzer
    export LD_LIBRARY_PATH=DIR/nvidia/cuda_runtime/lib
    make bench-generators BENCH_ARGS="--perf-analyzer DIR/perf_analyzer"

Without it, the load test and h2load are compared. The last line of output is a JSON document.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from operator import truediv
from pathlib import Path
from typing import Any

from harness import CLIENT_CORE, ROOT, SERVER_CORE, Server, example, serve
from PIL import Image

from loadtest.transports.api import Api
from loadtest.transports.tfs_grpc import TfsGrpc
from loadtest.transports.tfs_rest import TfsRest
from serving.transport.grpc_wire import frame

APIS: dict[str, type[Api]] = {"tfs-grpc": TfsGrpc, "tfs-rest": TfsRest}
TOLERANCE = 0.05
_SECONDS = 300
# perf_analyzer's three windows, which need not agree. With --request-count it counts whole seconds.
_WINDOWS = ("--measurement-interval=2000", "--stability-percentage=999", "--max-trials=3")
_PINNED = ("taskset", "-c", str(CLIENT_CORE))


@dataclass(frozen=True)
class Bench:
    """The load, and the files that the generators read."""

    folder: Path
    model: str
    transport: str
    in_flight: int
    requests: int
    perf_analyzer: Path | None

    @property
    def rest(self) -> bool:
        """Whether requests go over HTTP/1.1."""
        return "rest" in self.transport

    def prepare(self) -> None:
        """Write the image, the request as h2load sends it, and as perf_analyzer reads it."""
        image = example(self.model, 1)["images"]
        pictures = self.folder / "data" / "test" / "cat"
        pictures.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(pictures / "0.png")
        payload = self._api().payload({"images": image})
        self._body.write_bytes(payload if self.rest else frame(payload))
        content = (
            {"payload": [json.loads(payload)]}
            if self.rest
            else {"images": {"content": image.ravel().tolist(), "shape": list(image.shape)}}
        )
        self._perf_input.write_text(json.dumps({"data": [content]}))

    def generators(self) -> dict[str, Callable[[Server], float]]:
        """Return the generators by name: functions that return requests/s."""
        found = {"loadtest": self.load_test, "h2load": self.h2load}
        return found if self.perf_analyzer is None else found | {"perf_analyzer": self.perf}

    def load_test(self, server: Server) -> float:
        """Measure with `python -m loadtest run`."""
        output = self.folder / "report"
        shutil.rmtree(output, ignore_errors=True)
        _run(
            *(*_PINNED, sys.executable, "-m", "loadtest", "run"),
            *(f"--target=127.0.0.1:{server.port}", f"--model={self.model}"),
            *(f"--transport={self.transport}", f"--users={self.in_flight}"),
            *(f"--requests={self.requests}", f"--data-dir={self.folder / 'data'}"),
            *(f"--output-dir={output}", "--connections=1"),
        )
        report = json.loads((output / "report.json").read_text())
        if report["requests"]["answered"] != self.requests:
            sys.exit(f"the load test had errors: {report['errors']}")
        rate: float = report["throughput"]["requests_per_second"]
        return rate

    def h2load(self, server: Server) -> float:
        """Measure with h2load."""
        load = server.load(
            self._body,
            in_flight=self.in_flight,
            requests=self.requests,
            connections=self.in_flight if self.rest else 1,
            path=self._api().path,
            http1=self.rest,
        )
        if load.failed:
            sys.exit(f"{load.failed} of h2load's requests failed")
        return load.requests_per_second

    def perf(self, server: Server) -> float:
        """Measure with perf_analyzer."""
        table = self.folder / "perf.csv"
        kind = ["--service-kind=tfserving", "-i", "grpc"]
        if self.rest:
            endpoint = self._api().path.removeprefix("/")
            kind = ["--service-kind=openai", "-i", "http", f"--endpoint={endpoint}", "--async"]
        _run(
            *(*_PINNED, str(self.perf_analyzer), "-m", self.model, *kind),
            *("-u", f"127.0.0.1:{server.port}", f"--input-data={self._perf_input}"),
            *(f"--concurrency-range={self.in_flight}", "-f", str(table), *_WINDOWS),
        )
        with table.open() as file:
            (row,) = csv.DictReader(file)
        return float(row["Inferences/Second"])

    def _api(self) -> Api:
        return APIS[self.transport](self.model, None)

    @property
    def _body(self) -> Path:
        return self.folder / f"{self.transport}.body"

    @property
    def _perf_input(self) -> Path:
        return self.folder / f"{self.transport}.json"


def _run(*command: str) -> None:
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if finished.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stdout}\n{finished.stderr}")


def measure(bench: Bench, server: Server, rounds: int) -> dict[str, Any]:
    """Measure with each generator in turns; return rates, medians and ratios."""
    bench.prepare()
    generators = bench.generators()
    rates: dict[str, list[float]] = {name: [] for name in generators}
    for number in range(rounds + 1):
        for name in reversed(generators) if number % 2 else generators:
            rate = generators[name](server)
            if number:  # the first round warms up
                rates[name].append(round(rate, 2))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    # In pairs of the same round: the machine's speed changes from round to round.
    ratios = {
        name: round(statistics.median(map(truediv, rates["loadtest"], values)), 4)
        for name, values in rates.items()
        if name != "loadtest"
    }
    return {
        "model": bench.model,
        "in_flight": bench.in_flight,
        "requests": bench.requests,
        "requests_per_second": rates,
        "medians": medians,
        "loadtest_over": ratios,
        "within_5_percent": all(abs(ratio - 1) <= TOLERANCE for ratio in ratios.values()),
    }


def main() -> None:
    """Measure over gRPC and REST; print a line for each, and a JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--requests", type=int, default=2000, help="in a run (default: 2000)")
    parser.add_argument("--in-flight", type=int, default=8, help="requests (default: 8)")
    parser.add_argument("--model", default="resnet50", help="bundled model (default: resnet50)")
    parser.add_argument("--perf-analyzer", type=Path, help="the program; see the module")
    parser.add_argument("--transport", choices=APIS, help="only this one (default: both)")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"load_average_at_start": os.getloadavg()[0]}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(ROOT / "models", [SERVER_CORE], "--max_batch_size=1") as (server, _),
    ):
        for transport in [arguments.transport] if arguments.transport else APIS:
            bench = Bench(
                Path(folder),
                arguments.model,
                transport,
                arguments.in_flight,
                arguments.requests,
                arguments.perf_analyzer,
            )
            measured = result[transport] = measure(bench, server, arguments.rounds)
            texts = [f"{name} {median:.5g}" for name, median in measured["medians"].items()]
            print(f"{transport}: {', '.join(texts)} requests/s, {measured['loadtest_over']}")
    result["load_average_at_end"] = os.getloadavg()[0]
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
