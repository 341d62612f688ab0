"""Measures one process that owns the models of several: `python tests/bench/one_owner`.

Three arrangements answer single images over gRPC: one process, two workers (`--workers 2`), and two
protocol processes with one owner of the model, the prototype in this folder. They take turns on all
cores, which the load generator shares: compare the CPU time a request, which it disturbs least. The
model that waits computes nothing: each batch takes a fixed time on a device that all processes
share, as on a GPU. There the requests/s count. The last line of output is a JSON document, which
`--output` writes to a file, too.
"""

import argparse
import contextlib
import json
import re
import shutil
import statistics
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from against import compare
from bench.one_owner import device
from bench.one_owner.program import VARIABLE_OF_SPLIT
from harness import CLIENT_CORE, ROOT, SERVER_CORE, Server, request_body, serve

CORES = (SERVER_CORE, CLIENT_CORE)
IN_FLIGHT = (32, 128)
# A protocol process or worker gets as many connections as another one only if there are many.
CONNECTIONS = 16
DEVICE_SECONDS = 0.002
WARM_UP_REQUESTS = 500
PROGRAM = (str(HERE / "program.py"),)


class Arrangement(NamedTuple):
    """Processes that serve a model.

    Attributes:
        flags: Flags of the server.
        is_split: Whether one process owns the models.
    """

    flags: tuple[str, ...]
    is_split: bool = False


class Case(NamedTuple):
    """A model on a device, and the arrangements to compare.

    Attributes:
        model: Name of a bundled model.
        precision: Its precision.
        waits: Whether it runs on the device that takes a fixed time.
        arrangements: The arrangements by name, today's workers first.
    """

    model: str
    precision: str
    waits: bool
    arrangements: Mapping[str, Arrangement]


WORKERS, OWNER = "two workers", "two protocol processes, one owner"
ON_CPU = {
    WORKERS: Arrangement(("--workers", "2")),
    "one process": Arrangement(()),
    OWNER: Arrangement(("--workers", "2"), is_split=True),
    f"{OWNER} of two instances": Arrangement(("--workers", "2", "--instances", "2"), is_split=True),
}
# A GPU runs one batch after another, so that the server gives it one instance.
ON_DEVICE = {
    WORKERS: Arrangement(("--workers", "2")),
    "one process": Arrangement(("--instances", "1")),
    OWNER: Arrangement(("--workers", "2"), is_split=True),
}
CASES = {
    "simcnn, float32": Case("simcnn", "fp32", waits=False, arrangements=ON_CPU),
    "simcnn, int8": Case("simcnn", "int8", waits=False, arrangements=ON_CPU),
    "resnet50, int8": Case("resnet50", "int8", waits=False, arrangements=ON_CPU),
    f"a batch takes {1000 * DEVICE_SECONDS:g} ms": Case(
        "simcnn", "int8", waits=True, arrangements=ON_DEVICE
    ),
}


class Figures(NamedTuple):
    """The figures of one run of the load.

    Attributes:
        requests_per_second: Answered requests.
        cpu_us_per_request: CPU time of all processes of the server, in microseconds.
        rows_per_batch: Mean size of the batches.
    """

    requests_per_second: float
    cpu_us_per_request: float
    rows_per_batch: float


class Counters(NamedTuple):
    """Counters of the metrics page: requests answered OK, batches, and rows in them."""

    answered: float
    batches: float
    rows: float


def counters(port: int) -> Counters:
    """Read the counters of a server, summed over its processes."""
    url = f"http://127.0.0.1:{port}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        page = answer.read().decode()

    def total(pattern: str) -> float:
        return sum(map(float, re.findall(rf"^{pattern} ([\d.e+]+)$", page, re.MULTILINE)))

    size = r":tensorflow:serving:batching_session:processed_batch_size"
    return Counters(
        total(r':tensorflow:serving:request_count{.*"OK"}'),
        total(rf"{size}_count{{.*}}"),
        total(rf"{size}_sum{{.*}}"),
    )


def load(server: Server, body: Path, in_flight: int, requests: int) -> Figures:
    """Send requests to a server, and end the program unless all were answered."""
    before = counters(server.port)
    figures = server.load(
        body, in_flight=in_flight, requests=requests, connections=CONNECTIONS, cores=CORES
    )
    after = counters(server.port)
    answered, batches, rows = (now - then for now, then in zip(after, before, strict=True))
    if figures.failed or answered != requests:
        sys.exit(f"{answered:g} of {requests} requests were answered, {figures.failed} failed")
    return Figures(figures.requests_per_second, figures.cpu_us_per_request, rows / batches)


def memory_mib(server: Server) -> dict[str, float]:
    """Return the memory of a server's processes in MiB: shared pages count once in `pss`."""
    found = [
        process.memory_full_info()
        for process in (server.process, *server.process.children(recursive=True))
    ]
    return {
        "rss_mib": round(sum(each.rss for each in found) / 2**20, 1),
        "pss_mib": round(sum(each.pss for each in found) / 2**20, 1),
    }


@contextlib.contextmanager
def serving(case: Case, folder: Path) -> Iterator[dict[str, Server]]:
    """Start the servers of a case, by arrangement."""
    models = folder / case.model
    if not models.exists():
        shutil.copytree(ROOT / "models" / case.model, models / case.model)
    with contextlib.ExitStack() as running:
        servers = {}
        for name, (flags, is_split) in case.arrangements.items():
            environment = {VARIABLE_OF_SPLIT: "1"} if is_split else {}
            if case.waits:
                environment[device.PATH_VARIABLE] = str(folder / f"device-{len(servers)}")
                environment[device.SECONDS_VARIABLE] = str(DEVICE_SECONDS)
            started = serve(
                models,
                CORES,
                *("--precision", case.precision, *flags),
                program=PROGRAM,
                environment=environment,
            )
            servers[name], _ = running.enter_context(started)
        yield servers


def measure(case: Case, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the arrangements of a case in turns.

    Returns:
        By number of requests in flight: the figures of each arrangement, as lists over the rounds.
        Under `memory`: the memory of each arrangement after the load.
    """
    body = request_body(folder, case.model, 1)
    found: dict[str, Any] = {}
    with serving(case, folder) as servers:
        for in_flight in IN_FLIGHT:
            requests = {}
            for name, server in servers.items():
                load(server, body, in_flight, WARM_UP_REQUESTS)
                rate = load(server, body, in_flight, WARM_UP_REQUESTS).requests_per_second
                requests[name] = max(WARM_UP_REQUESTS, round(rate * seconds))
            runs: dict[str, list[Figures]] = defaultdict(list)
            names = list(servers)
            for number in range(rounds):
                for name in names if number % 2 else reversed(names):
                    runs[name].append(load(servers[name], body, in_flight, requests[name]))
            found[str(in_flight)] = {
                name: {
                    figure: [round(getattr(run, figure), 2) for run in figures]
                    for figure in Figures._fields
                }
                for name, figures in runs.items()
            }
        found["memory"] = {name: memory_mib(server) for name, server in servers.items()}
    return found


def report(case_name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print a case's medians and their ratios to today's workers; return the ratios."""
    ratios: dict[str, Any] = {}
    for in_flight in map(str, IN_FLIGHT):
        print(f"{case_name}, {in_flight} in flight")
        base = found[in_flight][WORKERS]
        for name, runs in found[in_flight].items():
            medians = [statistics.median(runs[figure]) for figure in Figures._fields]
            memory = found["memory"][name]
            print(
                f"  {name:<52} {medians[0]:8.0f}/s {medians[1]:7.1f} us of CPU a request "
                f"{medians[2]:6.1f} rows a batch {memory['pss_mib']:7.1f} MiB (RSS "
                f"{memory['rss_mib']:.1f})",
                flush=True,
            )
        for name, runs in found[in_flight].items():
            if name == WORKERS:
                continue
            for figure in ("cpu_us_per_request", "requests_per_second"):
                ratio = compare(base[figure], runs[figure])
                ratios.setdefault(in_flight, {}).setdefault(name, {})[figure] = ratio
                low, high = ratio["ratio_interval_95"]
                print(
                    f"    {name} / {WORKERS}, {figure}: {ratio['ratio']:.3f} "
                    f"({low:.3f} to {high:.3f})"
                )
    return ratios


def main() -> None:
    """Measure the chosen cases, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each load (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="duration of a run (default: 1.5)"
    )
    parser.add_argument("--only", default="", help="measure only cases with this in their name")
    parser.add_argument("--output", type=Path, help="file for the JSON document")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if arguments.only in name:
                found = measure(case, Path(folder), arguments.rounds, arguments.seconds)
                results[name] = found | {"ratios": report(name, found)}
    document = json.dumps({"rounds": arguments.rounds, "cases": results})
    if arguments.output is not None:
        arguments.output.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    sys.exit(main())
