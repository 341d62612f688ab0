"""Tests of changes of a few models: loads and unloads by name."""

import asyncio

import numpy as np
import pytest
from running.managers import fixed, manage, model, states
from sample_models import tiny_models

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import State
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import UnknownError
from serving.repository.explicit_models import pinned
from serving.repository.version_folders import LocalFolders


def kept(folder, name, **settings):
    return pinned(model(name, folder / name), LocalFolders(), **settings)


def test_a_change_leaves_the_other_models_alone(tmp_path):
    """A model that comes or goes does not touch the servables of the others."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)

    async def scenario(manager):
        shared = manager.catalog.servable("identity")
        await manager.change({"add": kept(tmp_path, "add")})
        both = manager.catalog.availability
        await manager.change({"add": None, "unknown": None})
        same = manager.catalog.servable("identity") is shared
        return both, manager.catalog.availability, same, states(manager, "add")

    both, after, same, ended = manage(scenario, fixed(kept(tmp_path, "identity")))

    assert both == {"identity": True, "add": True}
    assert after == {"identity": True}
    assert same
    assert ended == {1: State.END}


def test_the_last_model_can_go(tmp_path):
    """A server may serve no model at all."""
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        await manager.change({"identity": None})
        await manager.update()
        return manager.catalog.availability

    assert manage(scenario, fixed(kept(tmp_path, "identity"))) == {}


def test_changes_wait_for_each_other(tmp_path):
    """Changes and reloads at the same time are done one after another, each on the last's set."""
    names = [f"m{number}" for number in range(5)]
    for name in names:
        tiny_models.identity(tmp_path, name)

    async def scenario(manager):
        await asyncio.gather(*(manager.change({name: kept(tmp_path, name)}) for name in names))
        return sorted(manager.catalog.availability)

    assert manage(scenario, dict) == names


def test_a_change_fails_unless_all_its_versions_load(tmp_path):
    """A broken version fails the change, although an older version of the model is loaded."""
    tiny_models.identity(tmp_path)
    old = kept(tmp_path, "identity")
    broken = tmp_path / "identity" / "2"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")

    async def scenario(manager):
        shared = manager.catalog.servable("identity")
        with pytest.raises(UnknownError, match="name: identity version: 2} due to error: DATA"):
            await manager.change({"identity": kept(tmp_path, "identity")})
        await manager.update()
        return manager.catalog.servable("identity") is shared

    assert manage(scenario, fixed(old))


def test_other_batching_loads_the_version_anew(tmp_path):
    """A load with other batching settings replaces the servable, and passes them to the loader."""
    tiny_models.identity(tmp_path)
    given = []

    def load_with(name, version, path, *more):
        given.append(more)
        batching = BatchingConfig().changed(*more) if more else BatchingConfig()
        return Servable.load(name, version, path, RuntimeConfig(device="cpu"), batching)

    async def scenario(manager):
        before = manager.catalog.servable("identity")
        small = kept(tmp_path, "identity", batching={"max_batch_size": 2})
        await manager.change({"identity": small})
        changed = manager.catalog.servable("identity")
        await manager.change({"identity": small})
        same = manager.catalog.servable("identity") is changed
        answer = await changed.predict("serving_default", {"x": np.ones((5, 3), np.float32)}, ["y"])
        return before is changed, same, changed.batching.max_batch_size, answer["y"].shape

    found = manage(scenario, fixed(kept(tmp_path, "identity")), load_with)

    assert found == (False, True, 2, (5, 3))
    assert given == [(), ({"max_batch_size": 2},)]
