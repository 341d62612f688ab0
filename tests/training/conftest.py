"""Fixtures: tiny data sets in the real layouts, and the command line as a subprocess."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This runs before any test module imports Keras.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from image_files import write_images

BATCH_FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture(scope="session")
def batches() -> dict[str, tuple[Any, Any]]:
    """Random content of the six batches: planes uint8 (10000, 3072) and labels (10000,)."""
    random = np.random.default_rng(0)
    return {
        name: (
            random.integers(0, 256, (10_000, 3_072), dtype=np.uint8),
            random.permutation(np.arange(10_000) % 10).astype(np.uint8),
        )
        for name in BATCH_FILES
    }


@pytest.fixture(scope="session")
def binary_dir(tmp_path_factory, batches) -> Path:
    """The official binary layout at full size: six files of 30,730,000 bytes."""
    folder = tmp_path_factory.mktemp("binary")
    for name, (planes, labels) in batches.items():
        np.hstack([labels[:, None], planes]).tofile(folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="session")
def image_dir(tmp_path_factory) -> Path:
    """200 training and 50 test images as PNG files."""
    return write_images(tmp_path_factory.mktemp("images"), {"train": 20, "test": 5})


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """The training command line as a list for subprocess."""
    return lambda *arguments: [sys.executable, "-m", "training", *map(str, arguments)]


@pytest.fixture(scope="session")
def run_command(command) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the training command line to its end, in the environment plus `env`."""

    def run(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None):
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", **(env or {})}
        return subprocess.run(
            command(*arguments),
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
