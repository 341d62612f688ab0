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
    """The test waits for ever."""
    wait()


def test_passes():
    """This test runs, although other tests hung before it."""
