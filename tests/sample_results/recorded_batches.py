"""A batcher over a function that records the size of each batch, and requests to it."""

import asyncio
import threading

import numpy as np

from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig


class Recorder:
    """Doubles its input and records the size of each batch."""

    def __init__(self) -> None:
        """Runs do not wait until `hold` is called."""
        self.sizes: list[int] = []
        self.entered = threading.Event()
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, signature_name, inputs, outputs, control):
        """Record the batch size and return the doubled input."""
        self.entered.set()
        self._gate.wait(10)
        self.sizes.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    def hold(self) -> None:
        """Let the next runs block until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let waiting runs go on."""
        self._gate.set()


def rows(*values: int) -> dict[str, np.ndarray]:
    return {"x": np.array(values)}


def submit(batcher: Batcher, inputs, *, batched=True, deadline=None, signature="s"):
    return asyncio.ensure_future(
        batcher.run(signature, inputs, ["y"], batched=batched, deadline=deadline)
    )


async def settle(recorder: Recorder) -> None:
    """Wait until the worker has taken the first request and blocks in its run."""
    await asyncio.to_thread(recorder.entered.wait, 10)


def with_batcher(scenario, *, workers=1, **config):
    """Run a coroutine function on a batcher over a Recorder; return its result and the Recorder."""
    recorder = Recorder()
    batcher = Batcher(recorder, BatchingConfig(**config), workers=workers, name="m/1")
    try:
        return asyncio.run(scenario(batcher, recorder)), recorder
    finally:
        recorder.release()
        batcher.close()
