"""A server with models whose answers are known, a tiny data set, and the command line.

The load generator runs as a subprocess, as Locust does, which patches the standard library.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gevent.monkey
import numpy as np
import pytest
import tiny_models
from onnx import TensorProto, helper
from PIL import Image

from loadtest.report_file import read_run
from loadtest.report_schema import Report
from training.data.cifar10 import CLASS_NAMES, Split, load_split

RUN_SECONDS = 90
# `picky` fails on the images whose number is this or more.
PICKY_LIMIT = 20


def image_model(models_dir: Path, name: str, nodes: list, initializers: list) -> None:
    """A model of `images` whose nodes make `classes` out of `number`, the first red value."""
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
    """`cat` answers 3 to everything, `echo` the image's number, `picky` fails on some numbers."""
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
    """Address of a server of these models."""
    with running_server(image_models_dir) as address:
        yield address


@pytest.fixture(scope="session")
def data_dir(sample_images, tmp_path_factory) -> Path:
    """24 real images as PNG files by class, each with its number as first red value."""
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
    """The same images as the load generator reads them."""
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
    """Starts `python -m loadtest` on the tiny data set; gives the process and report folder."""

    def run(
        *arguments: object, command: str = "run", **environment: str
    ) -> tuple[subprocess.Popen, Path]:
        folder = tmp_path_factory.mktemp("run")
        flags = ["--data-dir", data_dir, "--output-dir", folder, *arguments]
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
def finish() -> Callable[[subprocess.Popen, Path], Result]:
    """Waits for a started run."""

    def wait(process: subprocess.Popen, folder: Path) -> Result:
        with process:
            try:
                stdout, stderr = process.communicate(timeout=RUN_SECONDS)
            finally:
                process.kill()
        return Result(process.returncode, stdout, stderr, folder)

    return wait


@pytest.fixture(scope="session")
def run(start, finish) -> Callable[..., Result]:
    """Runs `python -m loadtest run` (or another command) on the tiny data set to its end."""
    return lambda *arguments, **environment: finish(*start(*arguments, **environment))


@pytest.fixture(scope="session")
def wait_for_progress() -> Callable[[subprocess.Popen], None]:
    """Waits until a started run has finished its first requests."""

    def wait(process: subprocess.Popen) -> None:
        for line in process.stderr:
            if re.search(r"[1-9][\d,]* requests finished", line):
                return

    return wait


@pytest.fixture(scope="session", autouse=True)
def unpatched() -> Iterator[None]:
    """Patches by gevent must not leak into the tests of other packages."""
    yield
    assert not gevent.monkey.is_module_patched("socket")
