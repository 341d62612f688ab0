"""The answers of the served models on a device, compared with the CPU.

Each precision of the models is served with `--device cuda`, which never falls back to the CPU. The
answers are compared with those of the same file in ONNX Runtime on the CPU.
"""

import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from gpu import graphs
from gpu import results as files
from gpu.graphs import Graph
from gpu.results import Results
from running import servers

from serving.client import PredictClient
from serving.repository.model_folder import Precision

BATCH = 500
# The most rows of a request, and the time to load, on a machine that has never run CUDA before.
_START_SECONDS = 300


@dataclass(frozen=True)
class Limits:
    """What the answers must satisfy.

    Attributes:
        agreement: Smallest share of the images that get the same class.
        max_delta: Largest difference of a probability; None: any.
    """

    agreement: float
    max_delta: float | None


# TF32 rounds factors to 10 bits, which moved probabilities by less than 0.01 where it was measured.
# fp16 has the limit of the export's gate.
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(0.999, 1e-2),
    "w8": Limits(0.999, 1e-2),
    "fp16": Limits(0.998, None),
}


def run(
    models: Path, images: np.ndarray, labels: np.ndarray, results: Results, *, device: str
) -> None:
    """Check all graphs of a folder of models; one row a graph.

    Args:
        models: Folder of models.
        images: uint8, shape (n, 32, 32, 3).
        labels: int64, shape (n,).
        results: Receives the rows.
        device: cuda or cpu.
    """
    found = graphs.find(models)
    results.add(smoke(found[0], device))
    for precision in dict.fromkeys(graph.precision for graph in found):
        same = [graph for graph in found if graph.precision == precision]
        try:
            for row in _served(same, models, images, labels, device):
                results.add(row)
        except (OSError, RuntimeError, TimeoutError) as error:
            results.add({"precision": precision, "ok": False, "error": files.reason(error)})


def smoke(graph: Graph, device: str) -> dict[str, object]:
    """Run a graph once, and return a row that says on which provider it ran."""
    wanted = graphs.provider(device)
    row: dict[str, object] = {
        "smoke": graph.model,
        "offered": onnxruntime.get_available_providers(),
    }
    try:
        onnxruntime.preload_dlls()
        began = time.perf_counter()
        session = graph.session([(wanted, {})])
        session.run(["probabilities"], {"images": graphs.images(1)})
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        return row | {"ok": False, "error": files.reason(error)}
    used = session.get_providers()[0]
    seconds = round(time.perf_counter() - began, 3)
    return row | {"provider": used, "first_run_seconds": seconds, "ok": used == wanted}


def _served(
    found: list[Graph], models: Path, images: np.ndarray, labels: np.ndarray, device: str
) -> Iterator[dict[str, object]]:
    """Serve the models in one precision; yield a row for each."""
    names = {graph.model for graph in found}
    with _only(models, names) as folder:
        flags = ("--models_dir", str(folder), "--port", "0", "--device", device)
        with servers.as_process(*flags, "--precision", found[0].precision) as server:
            loaded = [
                server.wait_for(r"loaded (\S+) as \S+ on (\S+) in", timeout=_START_SECONDS)
                for _ in names
            ]
            providers = {match[1].partition("/")[0]: match[2] for match in loaded}
            target = server.wait_for(r"listening on (\S+),", timeout=_START_SECONDS).group(1)
            server.wait_for("ready: ", timeout=_START_SECONDS)
            for graph in found:
                row = compare(target, graph, images, labels)
                used = providers[graph.model]
                good = row.pop("ok") and used == graphs.provider(device)
                yield {**row, "provider": used, "ok": bool(good)}
            server.terminate()


def compare(target: str, graph: Graph, images: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Compare the answers of a server with those of the same file on the CPU.

    Args:
        target: `host:port` of the server.
        graph: The graph that it has loaded.
        images: uint8, shape (n, 32, 32, 3).
        labels: int64, shape (n,).
    """
    session = graph.on_cpu()
    starts = range(0, len(images), BATCH)
    on_cpu = np.concatenate(
        [session.run(["probabilities"], {"images": images[i : i + BATCH]})[0] for i in starts]
    )
    with PredictClient(target, timeout=120) as client:
        began = time.perf_counter()
        on_device = np.concatenate(
            [
                client.predict(graph.model, {"images": images[i : i + BATCH]})["probabilities"]
                for i in starts
            ]
        )
        seconds = time.perf_counter() - began
    agreement = float((on_device.argmax(axis=1) == on_cpu.argmax(axis=1)).mean())
    max_delta = float(np.abs(on_device - on_cpu).max())
    limits = LIMITS[graph.precision]
    small = limits.max_delta is None or max_delta <= limits.max_delta
    return {
        "model": graph.model,
        "precision": graph.precision,
        "images": len(images),
        "agreement": agreement,
        "max_delta": max_delta,
        "top1": float((on_device.argmax(axis=1) == labels).mean()),
        "top1_cpu": float((on_cpu.argmax(axis=1) == labels).mean()),
        "images_per_second": round(len(images) / seconds),
        "ok": agreement >= limits.agreement and small,
    }


@contextmanager
def _only(models: Path, names: Collection[str]) -> Iterator[Path]:
    """Provide a folder with some of the models."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).symlink_to(models.resolve() / name)
        yield Path(folder)
