"""Managers for tests, which look at their folders only when told to."""

import asyncio
from functools import partial
from pathlib import Path

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog, State
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.repository.model_config import ModelConfig, by_name

load = partial(Servable.load, config=RuntimeConfig(device="cpu"), batching=BatchingConfig())


def manage(scenario, find, load=load, **config):
    """Run a coroutine function with a started manager that does not poll; return its result."""

    async def run():
        manager = Manager(find, load, ManagerConfig(poll_seconds=0, **config), Catalog())
        await manager.start()
        try:
            return await scenario(manager)
        finally:
            await manager.close()

    return asyncio.run(run())


def states(manager: Manager, name: str) -> dict[int, State]:
    return {status.version: status.state for status in manager.catalog.statuses(name)}


def model(name: str, path: Path, **settings) -> ModelConfig:
    return ModelConfig(name=name, base_path=path, **settings)


def fixed(*models: ModelConfig):
    return lambda: by_name(models)
