"""Starts the servers that this one is compared with, each from an environment of its own.

mosec, Triton (started by PyTriton), MLServer, LitServe, BentoML and Ray Serve serve the same SimCNN
file with ONNX Runtime on one thread and their own dynamic batching, pinned to one core.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import numpy as np
import psutil
from harness import SERVER_CORE

from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse

HERE = Path(__file__).parent
INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
START_SECONDS = 120  # Ray starts ten processes
# Triton's stub brings an interpreter of its own, an early 3.11, and runs it with the environment's
# standard library: that of 3.11.7 fails there, and that of Debian 12 (3.11.2) works.
INTERPRETERS = {"triton": "/usr/bin/python3"}
JSON, BYTES = "application/json", "application/octet-stream"


class LeftOutError(Exception):
    """A peer cannot be measured here; the message says why."""


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its children; nothing if it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment; install the environment if it is missing.

    Raises:
        LeftOutError: It cannot be installed.
    """
    place = folder / name
    python, finished = place / "bin" / "python", place / "installed"
    if not finished.exists():
        shutil.rmtree(place, ignore_errors=True)
        interpreter = INTERPRETERS.get(name, sys.executable)
        if not Path(interpreter).exists():
            interpreter = sys.executable
        # Without its own pip: Debian's interpreter has none. The pip of this program installs.
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
        for command in (
            [interpreter, "-m", "venv", "--without-pip", str(place)],
            [*pip, "-r", str(HERE / f"{name}-requirements.txt")],
        ):
            code = subprocess.run(command, check=False).returncode
            if code:
                msg = f"`{' '.join(command)}` ended with exit code {code}"
                raise LeftOutError(msg)
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
            if members:
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


def json_request() -> bytes:
    """Return a request for one image as JSON, with the pixels as Base64."""
    pixels = base64.b64encode(image().tobytes()).decode()
    return json.dumps({"images": [pixels]}).encode()


def ask_pixels(port: int, path: str) -> np.ndarray:
    """Return a server's probabilities for bare pixels, over HTTP: float32 (10,)."""
    return np.frombuffer(_post(port, path, image().tobytes()), np.float32)


def ask_json(port: int, path: str) -> np.ndarray:
    """Return a server's probabilities for JSON, over HTTP: float32 (10,)."""
    (probabilities,) = json.loads(_post(port, path, json_request(), JSON))
    return np.array(probabilities, np.float32)


def _post(port: int, path: str, body: bytes, content_type: str = BYTES) -> bytes:
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - HTTP
        return response.read()


def wait_until_right(
    ask: Callable[[int], np.ndarray],
    process: psutil.Popen,
    port: int,
    expected: np.ndarray,
    log: Path,
) -> None:
    """Wait until a server answers the image's request; a wrong answer ends the program.

    Raises:
        LeftOutError: It ends, or does not answer in time.
    """
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = ask(port)
            break
        except (OSError, grpc.RpcError) as error:
            if process.poll() is not None:
                msg = f"it ended with exit code {process.returncode}; its log is {log}"
                raise LeftOutError(msg) from error
            if time.monotonic() > until:
                msg = f"it does not answer within {START_SECONDS} s; its log is {log}"
                raise LeftOutError(msg) from error
            time.sleep(0.2)
    if answer.shape != (10,) or not np.allclose(answer, expected, atol=1e-5):
        sys.exit(f"the server with the log {log} answered {answer}, expected {expected}")


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
def _by_script(name: str, model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start the peer of the script NAME_server.py; yield its process and its port at once."""
    port = free_port()
    command = [str(environment(name, folder)), str(HERE / f"{name}_server.py")]
    variables = {"PEER_MODEL": str(model), "PEER_PORT": str(port)}
    with running(command, folder / f"{name}-run", **variables) as process:
        yield process, port


def triton(model: Path, folder: Path) -> AbstractContextManager[tuple[psutil.Popen, int]]:
    """Start Triton; yield its process and its port for gRPC at once."""
    return _by_script("triton", model, folder)


def litserve(model: Path, folder: Path) -> AbstractContextManager[tuple[psutil.Popen, int]]:
    """Start LitServe; yield its process and its port at once."""
    return _by_script("litserve", model, folder)


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


@contextlib.contextmanager
def bentoml(model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start BentoML; yield its main process and its port at once."""
    port, place = free_port(), folder / "bentoml-run"
    command = [str(environment("bentoml", folder).with_name("bentoml")), "serve"]
    command += ["bentoml_service:Classifier", "--working-dir", str(HERE)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    variables = {"BENTOML_HOME": str(place), "BENTOML_DO_NOT_TRACK": "True"}
    with running(command, place, PEER_MODEL=str(model), **variables) as process:
        yield process, port


@contextlib.contextmanager
def ray(model: Path, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    """Start Ray Serve; yield its main process and its port at once."""
    port, place = free_port(), folder / "ray-run"
    command = [str(environment("ray", folder)), str(HERE / "ray_server.py")]
    variables = {"PEER_MODEL": str(model), "PEER_PORT": str(port)}
    # Ray keeps a token in the home folder. Its sockets need a path of at most 107 bytes.
    variables |= {"HOME": str(place), "RAY_USAGE_STATS_ENABLED": "0"}
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as sockets,
        running(command, place, RAY_TMPDIR=sockets, **variables) as process,
    ):
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
