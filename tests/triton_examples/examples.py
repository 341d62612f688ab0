"""The examples of Triton's Python client, and how each is run against a server of this checkout.

The files are those of `src/python/examples` in github.com/triton-inference-server/client. They are
not part of this repository. The models are those of `sample_models/triton_models.py`.
"""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from running import servers
from running.tensorflow_command import free_port
from sample_models import triton_models

# What Triton does and this server does only if it is asked to.
FLAGS = ("--kserve_server_name=triton", "--kserve_raw_answers")
EXPLICIT = ("--model_control_mode=explicit",)
# The ports that one example has in its text.
FIXED_GRPC, FIXED_HTTP = 8001, 8000
_SECONDS = 120


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        file: Name of the file.
        arguments: Command line without the server's address; `PICTURE` stands for a picture, and
            `PICTURES` for a folder with three of them.
        reason: Why it is not run; empty for one that is.
        flags: Further flags of its server.
        models: Number of models that the server's folder must have; 0 for any number.
        says: Text that it prints if all went well; empty for one that prints none.
        fixed_ports: Whether it takes no address, and calls ports of its own.
    """

    file: str
    arguments: tuple[str, ...] = ()
    reason: str = ""
    flags: tuple[str, ...] = ()
    models: int = 0
    says: str = "PASS"
    fixed_ports: bool = False

    @property
    def name(self) -> str:
        """The file and the arguments, for the table."""
        return " ".join([self.file, *self.arguments])


_NO_SHARED_MEMORY = "needs shared memory with the server"
_NO_SEQUENCES = "needs Triton's sequence batcher, which keeps state between requests"
_GRPC, _HTTP = ("-i", "grpc"), ("-i", "http")

EXAMPLES = (
    Example("simple_grpc_infer_client.py"),
    Example("simple_grpc_async_infer_client.py"),
    Example("simple_grpc_aio_infer_client.py"),
    Example("simple_grpc_keepalive_client.py"),
    Example("simple_grpc_custom_args_client.py"),
    Example("simple_grpc_string_infer_client.py"),
    Example("simple_grpc_health_metadata.py", says=""),
    Example("simple_grpc_model_control.py", flags=EXPLICIT, models=8),
    Example("simple_http_infer_client.py", says=""),
    Example("simple_http_async_infer_client.py", says=""),
    Example("simple_http_aio_infer_client.py"),
    Example("simple_http_string_infer_client.py"),
    Example("simple_http_health_metadata.py", says=""),
    Example("simple_http_model_control.py", flags=EXPLICIT, models=7),
    Example("grpc_client.py"),
    Example("grpc_explicit_int_content_client.py"),
    Example("grpc_explicit_int8_content_client.py"),
    Example("grpc_explicit_byte_content_client.py"),
    Example("grpc_image_client.py", ("-m", "densenet_onnx", "-c", "3", "PICTURE")),
    Example("grpc_image_client.py", ("-m", "inception_graphdef", "-b", "2", "-a", "PICTURES")),
    Example("image_client.py", ("-m", "densenet_onnx", "-c", "3", *_GRPC, "PICTURE")),
    Example("image_client.py", ("-m", "densenet_onnx", "-c", "3", *_HTTP, "PICTURE")),
    Example(
        "image_client.py",
        ("-m", "inception_graphdef", "-s", "INCEPTION", "-b", "3", "-a", *_GRPC, "PICTURES"),
    ),
    Example(
        "image_client.py",
        ("-m", "inception_graphdef", "-s", "INCEPTION", "-b", "3", "-a", *_HTTP, "PICTURES"),
    ),
    Example("memory_growth_test.py", _GRPC, says="", fixed_ports=True),
    Example("memory_growth_test.py", _HTTP, says="", fixed_ports=True),
    Example(
        "ensemble_image_client.py",
        reason="needs an ensemble whose first model decodes JPEG files in a backend of Triton",
    ),
    Example("simple_grpc_sequence_sync_infer_client.py", reason=_NO_SEQUENCES),
    Example("simple_grpc_sequence_stream_infer_client.py", reason=_NO_SEQUENCES),
    Example("simple_grpc_aio_sequence_stream_infer_client.py", reason=_NO_SEQUENCES),
    Example("simple_http_sequence_sync_infer_client.py", reason=_NO_SEQUENCES),
    Example(
        "simple_grpc_custom_repeat.py",
        reason="needs a backend of Triton that answers one request many times, over a stream",
    ),
    Example("reuse_infer_objects_client.py", reason=_NO_SHARED_MEMORY),
    Example("simple_grpc_shm_client.py", reason=_NO_SHARED_MEMORY),
    Example("simple_grpc_shm_string_client.py", reason=_NO_SHARED_MEMORY),
    Example("simple_grpc_cudashm_client.py", reason=f"{_NO_SHARED_MEMORY}, on a GPU"),
    Example("simple_http_shm_client.py", reason=_NO_SHARED_MEMORY),
    Example("simple_http_shm_string_client.py", reason=_NO_SHARED_MEMORY),
    Example("simple_http_cudashm_client.py", reason=f"{_NO_SHARED_MEMORY}, on a GPU"),
)


@dataclass(frozen=True)
class Outcome:
    """How an example ended.

    Attributes:
        result: `passed`, `failed` or `not run`.
        detail: Why it was not run, or the last lines of one that failed; empty if it passed.
    """

    result: str
    detail: str = ""


class Lab:
    """The models, the pictures and the servers of the examples."""

    def __init__(self, examples: Path, folder: Path, python: Path, front: str = "asgi") -> None:
        """Write the models and the pictures.

        Args:
            examples: Folder of the examples.
            folder: An empty folder.
            python: A Python with tritonclient, Pillow and attrdict.
            front: The server's front.
        """
        self._examples = examples
        self._folder = folder
        self._python = python
        self._front = front
        models = folder / "models"
        triton_models.write_all(models)
        self._models = [models]
        pictures = folder / "pictures"
        pictures.mkdir()
        for colour in triton_models.COLOURS:
            Image.new("RGB", (40, 30), colour).save(pictures / f"{colour}.png")
        self._pictures = pictures

    def run(self, example: Example) -> Outcome:
        """Run an example against a server of its own."""
        if example.reason:
            return Outcome("not run", example.reason)
        if example.fixed_ports and (busy := _busy(FIXED_GRPC, FIXED_HTTP)):
            return Outcome("not run", f"port {busy}, which it calls, is in use")
        places = {"PICTURE": str(self._pictures / "red.png"), "PICTURES": str(self._pictures)}
        arguments = [places.get(argument, argument) for argument in example.arguments]
        with self._server(example) as (grpc_address, http_address):
            http = "http" in example.file or "http" in arguments
            address = [] if example.fixed_ports else ["-u", http_address if http else grpc_address]
            return self._call(example, [*address, *arguments])

    def _call(self, example: Example, arguments: Sequence[str]) -> Outcome:
        try:
            ended = subprocess.run(
                [self._python, self._examples / example.file, *arguments],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome("failed", f"did not end within {_SECONDS} s")
        if ended.returncode == 0 and example.says in ended.stdout:
            return Outcome("passed")
        last = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-8:])
        return Outcome("failed", f"exit code {ended.returncode}\n{last}")

    @contextmanager
    def _server(self, example: Example) -> Iterator[tuple[str, str]]:
        """Start a server for an example; yield its addresses for gRPC and for HTTP."""
        rpc, rest = (FIXED_GRPC, FIXED_HTTP) if example.fixed_ports else (free_port(), free_port())
        flags = (
            *(f"--models_dir={self._models_of(example)}", f"--front={self._front}"),
            *(f"--port={rpc}", f"--rest_api_port={rest}", *FLAGS, *example.flags),
        )
        with servers.as_process(*flags) as server:
            server.wait_for("ready:")
            yield f"127.0.0.1:{rpc}", f"127.0.0.1:{rest}"

    def _models_of(self, example: Example) -> Path:
        """Return a folder with as many models as an example wants."""
        models = self._models[0]
        if not example.models:
            return models
        folder = self._folder / f"{example.models}_models"
        shutil.copytree(models, folder)
        names = sorted(path.name for path in folder.iterdir())
        for name in [name for name in names if name != "simple"][example.models - 1 :]:
            shutil.rmtree(folder / name)
        for number in range(example.models - len(names)):
            triton_models.simple(folder, f"simple_{number}")
        return folder


def _busy(*ports: int) -> int:
    """Return the first port that is in use; 0 if none is."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return port
    return 0


def client_python() -> Path:
    """Return the Python of the environment that `make tritonclient` installs."""
    return Path(sys.prefix) / "tritonclient" / "bin" / "python"
