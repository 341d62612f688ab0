"""Fixtures shared by the tests of all packages, and time limits of tests and their process."""

import faulthandler
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import disks
import numpy as np
import pytest
import time_budget
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient

# Shells start background jobs with SIGINT ignored, and child processes inherit this. Tests that
# send SIGINT to a child need the default handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_DIR = Path(__file__).parent / "data"
# Time limits in seconds of tests with these marks; a test's own timeout mark wins.
LIMITS = {
    "abuse": 600,
    "conformance": 1800,
    "docker": 3600,
    "gpu_images": 7200,
    "network": 600,
    "slow": 1800,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the setting `exit_seconds` and the options of `time_budget`."""
    time_budget.add_options(parser)
    parser.addini("exit_seconds", "seconds between the last test and the end", default="60")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugins of `time_budget`."""
    time_budget.register(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with a mark of LIMITS that mark's time limit."""
    for item in items:
        limits = [LIMITS[mark.name] for mark in item.iter_markers() if mark.name in LIMITS]
        if limits and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(limits)))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process with all stacks and a failure if Python waits for a thread that hangs.

    A test that exceeds its time limit may leave such a thread in the event loop's executor.
    """
    faulthandler.dump_traceback_later(float(config.getini("exit_seconds")), exit=True)


@pytest.fixture(scope="session")
def sample_images() -> np.ndarray:
    """The first 24 CIFAR-10 test images, uint8 (24, 32, 32, 3)."""
    with np.load(DATA_DIR / "cifar10_sample.npz") as sample:
        return sample["images"]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with five tiny models; tests must not change it."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.identity(folder)
    tiny_models.add(folder)
    tiny_models.lookup(folder)
    tiny_models.fragile(folder)
    tiny_models.brightness(folder)
    return folder


@pytest.fixture(scope="session")
def target(models_dir: Path) -> Iterator[str]:
    """Address of a server of `models_dir`."""
    with servers.in_this_process(models_dir) as address:
        yield address


@pytest.fixture(scope="session")
def running_server() -> Callable[..., AbstractContextManager[str]]:
    """A context manager that serves a models folder and yields the server's address."""
    return servers.in_this_process


@pytest.fixture
def client(target: str) -> Iterator[PredictClient]:
    """A client connected to `target`."""
    with PredictClient(target) as connected:
        yield connected


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[disks.SmallDisk]:
    """An empty disk of 16 MB; without the right to mount one, the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with disks.small_disk(folder, size=16 << 20) as mounted:
        yield mounted
