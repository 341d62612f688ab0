"""The server under load from processes of its own machine, beside raw ONNX Runtime.

For each model, raw `session.run` is measured first, at every batch size. Then the server runs with
several settings under several loads. `of_raw` is the server's images a second divided by the best
rate of raw ONNX Runtime in the same process of the step, with the settings of the server.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from gpu import callers, graphs, raw_runtime
from gpu.callers import Callers, Order
from gpu.graphs import Graph
from gpu.results import Results, reason
from running import servers

from serving.client import predict_request

SECONDS = 1.5  # of each load
_START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Load:
    """Calls of one size.

    Attributes:
        rows: Images in a call.
        processes: Processes that call.
        in_flight: Calls at the same time of each process.
    """

    rows: int
    processes: int
    in_flight: int


LOADS = (
    Load(rows=1, processes=1, in_flight=1),
    Load(rows=1, processes=6, in_flight=64),
    Load(rows=32, processes=6, in_flight=4),
    Load(rows=64, processes=6, in_flight=8),
)
# Flags of the server by name, in the order in which they are measured: a time limit cuts the last
# ones off.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "--cuda_graphs=false": ("--cuda_graphs=false",),
    "--io_binding=off": ("--io_binding=off",),
    "--cuda_prefer_nhwc": ("--cuda_prefer_nhwc",),
    "2 instances": ("--instances", "2"),
    "4 workers": ("--workers", "4"),
    "8 workers": ("--workers", "8"),
}


def run(
    models: Path,
    results: Results,
    *,
    device: str,
    loads: Sequence[Load] = LOADS,
    batches: Sequence[int] = raw_runtime.BATCHES,
    seconds: float = SECONDS,
    settings: Mapping[str, tuple[str, ...]] = SETTINGS,
) -> None:
    """Measure the models of a folder; one row for each setting, model and load.

    Args:
        models: Folder of models.
        results: Receives the rows.
        device: cuda or cpu.
        loads: The loads.
        batches: Batch sizes of raw ONNX Runtime.
        seconds: Time of each load, in seconds.
        settings: Flags of the server by name.
    """
    if device == "cuda":
        onnxruntime.preload_dlls()
    found = graphs.served(graphs.find(models), device)
    raw = {graph.model: _raw(graph, results, device, batches) for graph in found}
    with (
        tempfile.TemporaryDirectory() as folder,
        callers.start(max(load.processes for load in loads)) as processes,
    ):
        bodies = _bodies(Path(folder), found, loads)
        for name, flags in settings.items():
            command = ("--models_dir", str(models), "--port", "0", "--device", device, *flags)
            try:
                for row in _measured(command, loads, bodies, processes, seconds):
                    best = raw[str(row["model"])]
                    share = round(float(str(row["images_per_second"])) / best, 4) if best else None
                    results.add({"setting": name, **row, "of_raw": share})
            except (OSError, RuntimeError, TimeoutError) as error:
                results.add({"setting": name, "error": reason(error)})


def _raw(graph: Graph, results: Results, device: str, batches: Sequence[int]) -> float | None:
    """Measure raw ONNX Runtime; return its best rate, None if it failed."""
    about = {"raw": graph.model, "precision": graph.precision}
    best = None
    try:
        for batch, rate in raw_runtime.rates(graph, device, batches):
            results.add(about | {"batch": batch, "images_per_second": round(rate)})
            best = max(rate, best or 0.0)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        results.add(about | {"error": reason(error)})
    return best


def _bodies(
    folder: Path, found: Sequence[Graph], loads: Sequence[Load]
) -> dict[tuple[str, int], Path]:
    """Write a request for each model and number of rows."""
    bodies = {}
    for graph in found:
        for rows in {load.rows for load in loads}:
            file = folder / f"{graph.model}-{rows}.bin"
            request = predict_request(graph.model, {"images": graphs.images(rows)})
            file.write_bytes(request.SerializeToString())
            bodies[graph.model, rows] = file
    return bodies


def _measured(
    command: Sequence[str],
    loads: Sequence[Load],
    bodies: Mapping[tuple[str, int], Path],
    processes: Callers,
    seconds: float,
) -> Iterator[dict[str, object]]:
    """Start a server; yield a row for each model and load."""
    with servers.as_process(*command) as server:
        target = server.wait_for(r"listening on (\S+),", timeout=_START_SECONDS).group(1)
        server.wait_for("ready: ", timeout=_START_SECONDS)
        process = psutil.Process(server.process.pid)
        for (model, rows), body in sorted(bodies.items()):
            for load in loads:
                if load.rows != rows:
                    continue
                before, began = _cpu_seconds(process), time.perf_counter()
                order = Order(
                    target=target, body=str(body), in_flight=load.in_flight, seconds=seconds
                )
                answers = processes.call(order, load.processes)
                cpu = _cpu_seconds(process) - before
                yield {
                    "model": model,
                    "rows": rows,
                    "processes": load.processes,
                    "in_flight": load.processes * load.in_flight,
                    **_figures(answers, rows, cpu, time.perf_counter() - began),
                }
        server.terminate()


def _figures(
    answers: callers.Answers, rows: int, cpu_seconds: float, seconds: float
) -> dict[str, object]:
    calls = len(answers.latencies)
    if not calls:
        return {"calls": 0, "failed": answers.failed, "images_per_second": 0, "ok": False}
    p50, p99 = np.quantile(answers.latencies, (0.5, 0.99))
    return {
        "calls": calls,
        "failed": answers.failed,
        "ok": not answers.failed,
        "images_per_second": round(calls * rows / answers.seconds),
        "p50_ms": round(1000 * float(p50), 3),
        "p99_ms": round(1000 * float(p99), 3),
        "cpu_us_per_image": round(1e6 * cpu_seconds / (calls * rows), 2),
        "cpu_cores": round(cpu_seconds / seconds, 2),
    }


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of the server and its workers so far, in seconds."""
    everything = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in everything)
