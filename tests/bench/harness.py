"""A pinned server, a pinned load generator, and raw ONNX Runtime for comparison."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sample_models import tiny_models

from serving.client import PredictClient, predict_request
from serving.protocols.kserve.tensor_bytes import datatype_of
from serving.protos.kserve_pb2 import ModelInferRequest
from serving.tensors.signature import DataType
from serving.transport.grpc_wire import frame

SERVER_CORE, CLIENT_CORE = 0, 1
PREDICT_PATH = "/tensorflow.serving.PredictionService/Predict"
INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
START_SECONDS = 120
RAW_SECONDS = 2.0
RAW_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Load:
    """The measurements of one h2load run."""

    requests_per_second: float
    cpu_us_per_request: float
    failed: int


@dataclass(frozen=True)
class Server:
    """A running server process."""

    process: psutil.Process
    port: int

    def cpu_seconds(self) -> float:
        """Return the user and system time of the server and its workers so far, in seconds."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    def memory_mib(self) -> float:
        """Return the resident memory of the server and its workers in MiB."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 2**20

    def load(
        self,
        body: Path,
        *,
        in_flight: int,
        requests: int,
        connections: int = 1,
        cores: Sequence[int] = (CLIENT_CORE,),
        path: str = PREDICT_PATH,
        headers: Sequence[str] = (),
        http1: bool = False,
    ) -> Load:
        """Send the same request repeatedly with h2load on the given cores; gRPC by default.

        Further headers are written `name: value`. HTTP/1.1 needs a connection for each request in
        flight.
        """
        is_grpc = path in {PREDICT_PATH, INFER_PATH}
        content_type = "application/grpc" if is_grpc else "application/json"
        before = self.cpu_seconds()
        text = subprocess.run(
            [
                *("taskset", "-c", ",".join(map(str, cores)), "h2load", "-d", str(body)),
                *("-c", str(connections), "-m", str(in_flight // connections)),
                *("-n", str(requests), *(["--h1"] if http1 else [])),
                *("-H", f"content-type: {content_type}", "-H", "te: trailers"),
                *(word for header in headers for word in ("-H", header)),
                f"http://127.0.0.1:{self.port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        cpu = self.cpu_seconds() - before
        rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
        succeeded = re.search(r"(\d+) succeeded", text)
        if not rate or not succeeded:
            sys.exit(f"h2load printed no result:\n{text}")
        return Load(float(rate[1]), 1e6 * cpu / requests, requests - int(succeeded[1]))


@contextmanager
def serve(
    models_dir: Path | str,
    cores: Sequence[int],
    *flags: str,
    checkout: Path = ROOT,
    models: Sequence[str] = (),
    program: Sequence[str] = ("-m", "serving"),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[Server, float]]:
    """Start a checkout's server on cores; yield it with the seconds until its first answer.

    Args:
        models_dir: Folder of models, or its URI in a store.
        cores: Cores of the server.
        flags: Further flags of the server.
        checkout: The server's code.
        models: Models that answer before the time is taken; by default the folder's first one.
        program: What Python runs, before the flags.
        environment: Further environment variables of the server.
    """
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the server
    started = time.perf_counter()
    process = psutil.Popen(
        [
            *("taskset", "-c", ",".join(map(str, cores)), sys.executable, *program),
            *("--models_dir", str(models_dir), "--host", "127.0.0.1", "--port", "0", *flags),
        ],
        cwd=checkout,
        env=os.environ | dict(environment),
        stderr=log,
    )
    try:
        port = _port(process, log)
        _wait_for_answers(port, models or [min(path.name for path in Path(models_dir).iterdir())])
        yield Server(process, port), time.perf_counter() - started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        log.close()


def _port(process: psutil.Popen, log: Any) -> int:
    for _ in range(START_SECONDS * 100):
        log.seek(0)
        if match := re.search(r"listening on \S+:(\d+),", log.read()):
            return int(match[1])
        if process.poll() is not None:
            log.seek(0)
            sys.exit(f"the server ended with exit code {process.returncode}:\n{log.read()}")
        time.sleep(0.01)
    sys.exit("the server did not start")


def _wait_for_answers(port: int, models: Sequence[str]) -> None:
    with PredictClient(f"127.0.0.1:{port}", timeout=START_SECONDS) as client:
        while not client.is_serving():
            time.sleep(0.005)
        for name in models:
            client.predict(name, example(name, 1))


def write_null_model(models_dir: Path) -> None:
    """Write a model that copies its input into a folder of models."""
    tiny_models.identity(models_dir)


def example(model: str, rows: int) -> dict[str, np.ndarray]:
    """Return inputs for a model of the benchmark: random pixels, or ones for the null model."""
    if model == "identity":
        return {"x": np.ones((rows, 3), np.float32)}
    images = np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)
    return {"images": images}


def request_body(folder: Path, model: str, rows: int) -> Path:
    """Write a file with one framed Predict request; return it."""
    file = folder / f"{model}-{rows}.bin"
    file.write_bytes(frame(predict_request(model, example(model, rows)).SerializeToString()))
    return file


def infer_body(folder: Path, model: str, rows: int) -> Path:
    """Write a file with one framed ModelInfer request with raw contents; return it."""
    request = ModelInferRequest(model_name=model)
    for name, array in example(model, rows).items():
        datatype = datatype_of(DataType.from_numpy(array.dtype))
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    file = folder / f"{model}-{rows}-infer.bin"
    file.write_bytes(frame(request.SerializeToString()))
    return file


def rest_body(folder: Path, model: str, rows: int) -> Path:
    """Write a file with the JSON of one REST predict request in row form; return it."""
    (array,) = example(model, rows).values()
    file = folder / f"{model}-{rows}.json"
    file.write_text(json.dumps({"instances": array.tolist()}))
    return file


def rest_path(model: str) -> str:
    """Return the path of a model's REST predict requests."""
    return f"/v1/models/{model}:predict"


def raw_images_per_second(onnx_file: Path, batch_sizes: Sequence[int]) -> dict[int, float]:
    """Measure raw `session.run` on the server's core with one thread.

    Returns:
        Images per second, by batch size.
    """
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(onnx_file), options, providers=["CPUExecutionProvider"]
        )
        return {rows: _raw_rate(session, rows) for rows in batch_sizes}
    finally:
        os.sched_setaffinity(0, own_cores)


def _raw_rate(session: onnxruntime.InferenceSession, rows: int) -> float:
    name = session.get_inputs()[0].name
    feeds = {name: next(iter(example("images", rows).values()))}
    for _ in range(3):
        session.run(None, feeds)
    runs, started = 0, time.perf_counter()
    while time.perf_counter() - started < RAW_SECONDS / len(RAW_BATCH_SIZES):
        session.run(None, feeds)
        runs += 1
    return rows * runs / (time.perf_counter() - started)
