import asyncio
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running.managers import fixed, load, manage, model, states
from sample_models import tiny_models

from serving.engine.catalog import MAX_ENDED_STATUSES, State
from serving.errors import StatusCode
from serving.repository.model_config import All, Latest, Specific, by_name, find_models


def test_a_new_version_replaces_the_old(tmp_path):
    """The new version answers, the old one is unloaded and stays listed as END."""
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        before = manager.catalog.servable("identity").version
        tiny_models.identity(tmp_path, version=2)
        await manager.update()
        return before, manager.catalog.servable("identity").version, states(manager, "identity")

    before, after, listed = manage(scenario, partial(find_models, tmp_path))

    assert (before, after) == (1, 2)
    assert listed == {2: State.AVAILABLE, 1: State.END}


def test_a_bad_new_version_leaves_the_old_one_serving(tmp_path):
    """The failed version is listed with its reason; the older version goes on answering."""
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        bad = tmp_path / "identity" / "2"
        bad.mkdir()
        (bad / "model.onnx").write_bytes(b"not a graph")
        await manager.update()
        return manager.catalog.servable("identity").version, manager.catalog.statuses("identity")

    serving, (bad, good) = manage(scenario, partial(find_models, tmp_path))

    assert serving == 1
    assert (bad.version, bad.state, bad.error_code) == (2, State.END, StatusCode.DATA_LOSS)
    assert "cannot be loaded" in bad.error_message
    assert (good.version, good.state) == (1, State.AVAILABLE)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), [3]),
        (Latest(2), [3, 2]),
        (All(), [3, 2, 1]),
        (Specific((1, 3, 7)), [3, 1]),
    ],
)
def test_policies_choose_versions(tmp_path, policy, expected):
    """latest, all and specific mean what they mean in TensorFlow Serving."""
    for version in (1, 2, 3):
        tiny_models.identity(tmp_path, version=version)

    async def scenario(manager):
        return list(states(manager, "identity"))

    config = model("identity", tmp_path / "identity", policy=policy)

    assert manage(scenario, fixed(config)) == expected


def test_the_newest_version_is_loaded_first(tmp_path):
    """The newest version loads first, at the start and in a reload.

    It can answer while the older versions are still loading.
    """
    for name in ("one", "two"):
        for version in (2, 10, 1):
            tiny_models.identity(tmp_path, name, version)
    loaded = []

    def noted(name, version, path):
        loaded.append((name, version))
        return load(name, version, path)

    one, two = (model(name, tmp_path / name, policy=All()) for name in ("one", "two"))

    async def scenario(manager):
        await manager.reload(by_name([two]))

    manage(scenario, fixed(one), noted)

    assert loaded == [(name, version) for name in ("one", "two") for version in (10, 2, 1)]


def test_an_emptied_folder_keeps_what_is_loaded(tmp_path, caplog):
    """If a model's folder disappears, the loaded version stays and one log line says so.

    An unmounted disk must not take a model down.
    """
    tiny_models.identity(tmp_path)
    config = model("identity", tmp_path / "identity")

    async def scenario(manager):
        shutil.rmtree(tmp_path / "identity")
        await manager.update()
        await manager.update()
        return manager.catalog.servable("identity").version

    assert manage(scenario, fixed(config)) == 1
    assert caplog.text.count("No versions of servable identity found under base path") == 1


def test_an_unreadable_configuration_keeps_the_models(tmp_path, caplog):
    """If the models folder disappears, all models stay loaded and one log line says so."""
    tiny_models.identity(tmp_path / "models")

    async def scenario(manager):
        (tmp_path / "models").rename(tmp_path / "gone")
        await manager.update()
        await manager.update()
        return manager.catalog.servable("identity").version

    assert manage(scenario, partial(find_models, tmp_path / "models")) == 1
    assert caplog.text.count("models stay as they are") == 1


def lock(monkeypatch, folder: Path) -> None:
    """Make a folder unreadable, also for root."""
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)


def test_an_unreadable_subfolder_is_left_out(tmp_path, monkeypatch, caplog):
    """A folder that cannot be read, such as lost+found, is left out and logged once.

    The models beside it are still found.
    """
    tiny_models.identity(tmp_path)
    (tmp_path / "lost+found").mkdir()
    lock(monkeypatch, tmp_path / "lost+found")

    async def scenario(manager):
        tiny_models.add(tmp_path)
        await manager.update()
        return manager.catalog.availability

    availability = manage(scenario, partial(find_models, tmp_path))

    assert availability == {"add": True, "identity": True}
    assert caplog.text.count("lost+found is left out: Permission denied") == 1


@pytest.mark.parametrize("listed", [True, False])
def test_a_model_whose_folder_gets_locked_goes_on(tmp_path, monkeypatch, caplog, listed):
    """If a model's folder becomes unreadable, its version stays loaded and other models update."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)
    listing = fixed(model("identity", tmp_path / "identity"), model("add", tmp_path / "add"))

    async def scenario(manager):
        lock(monkeypatch, tmp_path / "identity")
        tiny_models.add(tmp_path, version=2)
        await manager.update()
        return manager.catalog.servable("identity").version, manager.catalog.servable("add").version

    versions = manage(scenario, listing if listed else partial(find_models, tmp_path))

    assert versions == (1, 2)
    assert "Permission denied" in caplog.text


def test_new_and_removed_models_are_noticed(tmp_path):
    """A model folder that appears is served, one that disappears is unloaded."""
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        tiny_models.add(tmp_path)
        shutil.rmtree(tmp_path / "identity")
        await manager.update()
        return manager.catalog.availability

    assert manage(scenario, partial(find_models, tmp_path)) == {"add": True}


def test_no_request_fails_while_versions_change(tmp_path):
    """32 callers never see an error while versions 1 to 20 come and go."""
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        answered = 0
        swapping = True

        async def call() -> None:
            nonlocal answered
            while swapping:
                servable = manager.catalog.servable("identity")
                await servable.predict("serving_default", {"x": np.ones((1, 3), np.float32)}, ["y"])
                answered += 1

        callers = [asyncio.create_task(call()) for _ in range(32)]
        for version in range(2, 21):
            tiny_models.identity(tmp_path, version=version)
            await manager.update()
        swapping = False
        await asyncio.gather(*callers)
        return answered, manager.catalog.servable("identity").version

    answered, version = manage(scenario, partial(find_models, tmp_path))

    assert answered > 100
    assert version == 20


def test_the_list_of_ended_versions_is_bounded(tmp_path):
    """Only the newest MAX_ENDED_STATUSES ended versions of a model stay listed."""
    for version in range(1, MAX_ENDED_STATUSES + 11):
        (tmp_path / "m" / str(version)).mkdir(parents=True)

    async def scenario(manager):
        return states(manager, "m")

    listed = manage(scenario, fixed(model("m", tmp_path / "m", policy=All())))

    assert len(listed) == MAX_ENDED_STATUSES
    assert max(listed) == MAX_ENDED_STATUSES + 10
