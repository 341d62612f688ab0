"""Fixtures of the batcher's tests: real models, and futures for its queue."""

import asyncio

import pytest

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable


@pytest.fixture
def load(tmp_path):
    """A function that loads a tiny model as a servable; the servables are closed at the end."""
    loaded = []

    def make(builder, **config) -> Servable:
        path = builder(tmp_path)
        servable = Servable.load(
            path.parent.name, 1, path, RuntimeConfig(device="cpu"), BatchingConfig(**config)
        )
        loaded.append(servable)
        return servable

    yield make
    for servable in loaded:
        servable.close()


@pytest.fixture
def loop():
    """An event loop for futures that are never awaited."""
    made = asyncio.new_event_loop()
    yield made
    made.close()
