"""Fixtures for the tests of a matrix."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RUN_SECONDS = 240


@pytest.fixture
def matrix_toml(tmp_path):
    """Return a function that writes a matrix file."""

    def write(text: str) -> Path:
        file = tmp_path / "matrix.toml"
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.fixture
def start_matrix(image_models_dir, data_dir, tmp_path):
    """Return a function that starts `python -m loadtest matrix`; it returns process and folder."""
    processes = []

    def start(
        file: Path, *arguments: str, **environment: str
    ) -> tuple[subprocess.Popen[str], Path]:
        folder = tmp_path / "report"
        flags = (f"--models-dir={image_models_dir}", "--no-record", f"--data-dir={data_dir}")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtest", "matrix", str(file), *flags),
                *(f"--output-dir={folder}", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        processes.append(process)
        return process, folder

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run_matrix(start_matrix):
    """Return a function that runs a matrix; it returns exit code, both outputs and the folder."""

    def run(file: Path, *arguments: str) -> tuple[int, str, str, Path]:
        process, folder = start_matrix(file, *arguments)
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
        return process.returncode, stdout, stderr, folder

    return run


@pytest.fixture
def wait_for_run() -> Callable[[Path, int], None]:
    """Return a function that waits until a run of a matrix, by its number, is under way."""

    def wait(folder: Path, number: int) -> None:
        deadline = time.monotonic() + RUN_SECONDS
        while not any(
            "requests finished" in file.read_text()
            for file in folder.glob(f"runs/{number:03d}-*/output.txt")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait
