"""Fixtures that every package's tests share."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import servers
import tiny_models

from serving.client import PredictClient

# Shells start background jobs with SIGINT ignored, and children inherit that: tests that press
# Ctrl-C on a child need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_DIR = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def sample_images() -> np.ndarray:
    """The first 24 CIFAR-10 test images, uint8 (24, 32, 32, 3)."""
    with np.load(DATA_DIR / "cifar10_sample.npz") as sample:
        return sample["images"]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every tiny model; read-only by convention."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.identity(folder)
    tiny_models.add(folder)
    tiny_models.lookup(folder)
    tiny_models.fragile(folder)
    tiny_models.brightness(folder)
    return folder


@pytest.fixture(scope="session")
def target(models_dir: Path) -> Iterator[str]:
    """Address of a server that serves every tiny model."""
    with servers.in_this_process(models_dir) as address:
        yield address


@pytest.fixture(scope="session")
def running_server() -> Callable[..., AbstractContextManager[str]]:
    """A context manager that serves a models folder and gives its address."""
    return servers.in_this_process


@pytest.fixture
def client(target: str) -> Iterator[PredictClient]:
    """A client of that server."""
    with PredictClient(target) as connected:
        yield connected
