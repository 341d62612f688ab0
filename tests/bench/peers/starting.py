"""Starts the servers that this one is compared with, each from an environment of its own.

MLServer, Triton (started by PyTriton) and mosec serve the same SimCNN file with ONNX Runtime on one
thread and their own dynamic batching, pinned to one core.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
from harness import SERVER_CORE

from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse

HERE = Path(__file__).parent
INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
START_SECONDS = 60
# Triton's stub brings an interpreter of its own, an early 3.11, and runs it with the environment's
# standard library: that of 3.11.7 fails there, and that of Debian 12 (3.11.2) works.
INTERPRETERS = {"triton": "/usr/bin/python3"}


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its children."""
    return [process, *process.children(recursive=True)]


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment; install the environment if it is missing."""
    place = folder / name
    python, finished = place / "bin" / "python", place / "installed"
    if not finished.exists():
        shutil.rmtree(place, ignore_errors=True)
        interpreter = INTERPRETERS.get(name, sys.executable)
        if not Path(interpreter).exists():
            interpreter = sys.executable
        # Without its own pip: Debian's interpreter has none. The pip of this program installs.
        subprocess.run([interpreter, "-m", "venv", "--without-pip", str(place)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
        subprocess.run([*pip, "-r", str(HERE / f"{name}-requirements.txt")], check=True)
        finished.touch()
    return python


@contextlib.contextmanager
def running(command: list[str], folder: Path, **variables: str) -> Iterator[psutil.Popen]:
    """Run a peer's process on the server's core; end it with all its children."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("w") as log:
        process = psutil.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            members = family(process)
            process.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(members, timeout=20)
            for member in alive:
                member.kill()


def kserve_request() -> bytes:
    """Return a serialized ModelInfer request for one image, with the pixels as raw bytes."""
    request = ModelInferRequest(model_name="simcnn")
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 32, 32, 3])
    request.raw_input_contents.append(image().tobytes())
    return request.SerializeToString()


def image() -> np.ndarray:
    """Return the image of all requests: uint8, shape (1, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)


def ask_kserve(port: int) -> np.ndarray:
    """Return a server's probabilities for the image, over KServe's gRPC: float32 (10,)."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        response = ModelInferResponse.FromString(
            channel.unary_unary(INFER_PATH)(kserve_request(), timeout=10)
        )
    names = [output.name for output in response.outputs]
    position = names.index("probabilities")
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[position], np.float32)
    return np.array(response.outputs[position].contents.fp32_contents, np.float32)


def ask_mosec(port: int) -> np.ndarray:
    """Return mosec's probabilities for the image, over HTTP: float32 (10,)."""
    url = f"http://127.0.0.1:{port}/inference"
    with urllib.request.urlopen(url, image().tobytes(), timeout=10) as response:
        return np.frombuffer(response.read(), np.float32)


def is_right(ask, port: int, expected: np.ndarray, name: str, folder: Path) -> bool:
    """Wait until a peer answers; return False, with a message, if it does not.

    A peer with a wrong answer ends the program.
    """
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = ask(port)
            break
        except (OSError, grpc.RpcError):
            if time.monotonic() > until:
                print(f"{name} is left out: it does not answer; its log is {folder / 'log'}")
                return False
            time.sleep(0.2)
    if answer.shape != (10,) or not np.allclose(answer, expected, atol=1e-5):
        sys.exit(f"{name} answered {answer}, expected {expected}")
    return True


def free_port() -> int:
    """Return a free port; the two ports after it are probably free too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mosec(model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start mosec; yield its process and port at once."""
    port = free_port()
    command = [str(environment("mosec", folder)), str(HERE / "mosec_server.py")]
    command += ["--address", "127.0.0.1", "--port", str(port)]
    with running(command, folder / "mosec-run", PEER_MODEL=str(model)) as process:
        yield process, port


@contextlib.contextmanager
def triton(model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start Triton; yield its process and its port for gRPC at once."""
    port = free_port()
    command = [str(environment("triton", folder)), str(HERE / "triton_server.py")]
    variables = {"PEER_MODEL": str(model), "PEER_PORT": str(port)}
    with running(command, folder / "triton-run", **variables) as process:
        yield process, port


@contextlib.contextmanager
def mlserver(model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start MLServer; yield its process and its port for gRPC at once."""
    port = free_port()
    place = folder / "mlserver-run"
    _mlserver_settings(place, port)
    command = [str(environment("mlserver", folder).with_name("mlserver")), "start", "."]
    variables = {"PYTHONPATH": str(HERE), "PEER_MODEL": str(model)}
    with running(command, place, **variables) as process:
        yield process, port


def _mlserver_settings(place: Path, port: int) -> None:
    """Write MLServer's settings: one process, and batches of up to 64."""
    place.mkdir(parents=True, exist_ok=True)
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
    }
    (place / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "simcnn",
        "implementation": "mlserver_runtime.Classifier",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
        # Its metadata, which the load test asks for.
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        ],
    }
    (place / "model-settings.json").write_text(json.dumps(model))
