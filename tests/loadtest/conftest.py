"""Fixtures: a server with models whose answers are known, a tiny data set, the command line.

The load generator runs as a subprocess, because Locust patches the standard library.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import certificates
import gevent.monkey
import numpy as np
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from PIL import Image
from sample_models import tiny_models

from loadtest.report_file import read_run
from loadtest.report_schema import Report
from serving.protos.tfs_config_pb2 import SSLConfig
from training.data.cifar10 import CLASS_NAMES, Split, load_split

RUN_SECONDS = 90
# `picky` fails on images with this number or a higher one.
PICKY_LIMIT = 20


def image_model(models_dir: Path, name: str, nodes: list, initializers: list) -> None:
    """A model with input `images`; nodes compute `classes` from `number`, the first red value."""
    tiny_models.save(
        models_dir / name / "1" / "model.onnx",
        [
            helper.make_node("Gather", ["images", "zero"], ["rows"], axis=1),
            helper.make_node("Gather", ["rows", "zero"], ["pixels"], axis=1),
            helper.make_node("Gather", ["pixels", "zero"], ["red"], axis=1),
            helper.make_node("Cast", ["red"], ["number"], to=TensorProto.INT64),
            *nodes,
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("classes", TensorProto.INT64, ["batch"])],
        [helper.make_tensor("zero", TensorProto.INT64, [], [0]), *initializers],
    )


@pytest.fixture(scope="session")
def image_models_dir(tmp_path_factory) -> Path:
    """Models: `cat` always answers 3, `echo` the image's number, `picky` fails on some numbers."""
    folder = tmp_path_factory.mktemp("image-models")
    image_model(
        folder,
        "cat",
        [
            helper.make_node("Mul", ["number", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "three"], ["classes"]),
        ],
        [helper.make_tensor("three", TensorProto.INT64, [], [3])],
    )
    image_model(folder, "echo", [helper.make_node("Identity", ["number"], ["classes"])], [])
    image_model(
        folder,
        "picky",
        [helper.make_node("Gather", ["table", "number"], ["classes"])],
        [helper.make_tensor("table", TensorProto.INT64, [PICKY_LIMIT], [3] * PICKY_LIMIT)],
    )
    return folder


@pytest.fixture(scope="session")
def image_target(image_models_dir, running_server) -> Iterator[str]:
    """Address of a server of `image_models_dir`."""
    with running_server(image_models_dir) as address:
        yield address


@dataclass(frozen=True)
class SecureServer:
    """A server with mutual TLS on both ports, and the files of a client."""

    rpc: str
    rest: str
    folder: Path

    @property
    def flags(self) -> list[str]:
        """The flags that connect the load test to the server."""
        return [f"--{name}={self.folder / name}" for name in ("ca", "cert", "key")]

    def address(self, transport: str) -> str:
        """The address for a transport."""
        return self.rest if "rest" in transport else self.rpc


@pytest.fixture(scope="session")
def secure(image_models_dir, running_server, tmp_path_factory) -> Iterator[SecureServer]:
    """A server of `image_models_dir` that demands client certificates."""
    folder = tmp_path_factory.mktemp("secure")
    authority = certificates.Authority(folder / "authority")
    server, client = authority.issue("server"), authority.issue("client")
    config = SSLConfig(
        server_key=server.key,
        server_cert=server.certificate,
        custom_ca=authority.certificate,
        client_verify=True,
    )
    texts = {"ca": authority.certificate, "cert": client.certificate, "key": client.key}
    texts["tls.config"] = text_format.MessageToString(config)
    texts["api-key"] = "correct-horse-battery\n"
    for name, text in texts.items():
        (folder / name).write_text(text)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        rest = free.getsockname()[1]
    with running_server(
        image_models_dir,
        rest_api_port=rest,
        ssl_config_file=folder / "tls.config",
        rest_api_ssl_config_file=folder / "tls.config",
    ) as rpc:
        yield SecureServer(rpc, f"127.0.0.1:{rest}", folder)


@pytest.fixture(scope="session")
def data_dir(sample_images, tmp_path_factory) -> Path:
    """24 real images as PNG files in class folders; the first red value is the image's number."""
    folder = tmp_path_factory.mktemp("images")
    with np.load(Path(__file__).parents[1] / "data" / "cifar10_sample.npz") as sample:
        labels = sample["labels"]
    for number, (pixels, label) in enumerate(zip(sample_images, labels, strict=True)):
        class_folder = folder / "test" / CLASS_NAMES[label]
        class_folder.mkdir(parents=True, exist_ok=True)
        numbered = pixels.copy()
        numbered[0, 0, 0] = number
        Image.fromarray(numbered).save(class_folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def split(data_dir) -> Split:
    """The images of `data_dir` as the load generator reads them."""
    return load_split(data_dir, "test")


@dataclass(frozen=True)
class Result:
    """A finished run of the command line."""

    exit_code: int
    stdout: str
    stderr: str
    folder: Path

    @cached_property
    def report(self) -> Report:
        """report.json."""
        return read_run(self.folder)

    @cached_property
    def raw(self) -> dict[str, np.ndarray]:
        """raw.npz."""
        with np.load(self.folder / "raw.npz") as archive:
            return dict(archive)


@pytest.fixture(scope="session")
def start(data_dir, tmp_path_factory) -> Callable[..., tuple[subprocess.Popen, Path]]:
    """Return a function that starts `python -m loadtest` and returns process and report folder."""

    def run(
        *arguments: object, command: str = "run", **environment: str
    ) -> tuple[subprocess.Popen, Path]:
        folder = tmp_path_factory.mktemp("run")
        flags = ["--output-dir", folder, *arguments]
        if not {"--inputs", "--random", "--synthetic"} & set(arguments):
            flags = ["--data-dir", data_dir, *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "loadtest", command, *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        return process, folder

    return run


@pytest.fixture(scope="session")
def finish() -> Callable[..., Result]:
    """Wait for a started run and return its result."""

    def wait(process: subprocess.Popen, folder: Path, seconds: float = RUN_SECONDS) -> Result:
        with process:
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            finally:
                process.kill()
        return Result(process.returncode, stdout, stderr, folder)

    return wait


@pytest.fixture(scope="session")
def run(start, finish) -> Callable[..., Result]:
    """Return a function that runs `python -m loadtest run` or another command to its end."""
    return lambda *arguments, **environment: finish(*start(*arguments, **environment))


@pytest.fixture(scope="session")
def wait_for_progress() -> Callable[[subprocess.Popen], None]:
    """Wait until a started run has finished its first requests."""

    def wait(process: subprocess.Popen) -> None:
        for line in process.stderr:
            if re.search(r"[1-9][\d,]* requests finished", line):
                return

    return wait


@pytest.fixture(scope="session", autouse=True)
def unpatched() -> Iterator[None]:
    """Check that no patch by gevent leaks into the tests of other packages."""
    yield
    assert not gevent.monkey.is_module_patched("socket")
