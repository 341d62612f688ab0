import asyncio
import threading
import time

import pytest


@pytest.mark.parametrize(
    "wait",
    [
        threading.Event().wait,
        lambda: time.sleep(1000),
        lambda: asyncio.run(asyncio.sleep(1000)),
    ],
    ids=["lock", "sleep", "event loop"],
)
def test_hangs(wait):
    """Waits for what never happens."""
    wait()


def test_passes():
    """Runs, although another test hung before it."""
