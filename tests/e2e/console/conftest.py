"""Fixtures of the tests with a browser: Chromium, a server of all kinds of models, a window."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import browsers, servers
from running.browsers import Opened
from sample_models import tiny_models

BUNDLED = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """What drives browsers.

    Not longer than a module: its event loop runs in this thread, where no other test could run one.
    """
    with browsers.driver() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright) -> Iterator[Any]:
    """A headless Chromium."""
    with browsers.browser(playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def mixed_models(tmp_path_factory) -> Path:
    """A folder with both bundled models, and with models that take numbers."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("simcnn", "resnet50"):
        (folder / name).symlink_to(BUNDLED / name)
    tiny_models.add(folder)
    tiny_models.identity(folder)
    return folder


@pytest.fixture(scope="session")
def base(mixed_models) -> Iterator[str]:
    """URL of a server process of `mixed_models`, whose processor time is not the test's."""
    with servers.as_process("--models_dir", str(mixed_models), "--port", "0") as server:
        port = server.wait_for(r"bound 127\.0\.0\.1:(\d+)")[1]
        server.wait_for("ready: ")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def console(chromium, base) -> Iterator[Opened]:
    """A window of the console; after the test, nothing must have gone wrong in it."""
    with browsers.opened(chromium, base) as window:
        yield window
        assert window.problems == []
