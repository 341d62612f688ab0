"""Tests of versions that load or fail to: their states, their retries and what callers are told."""

import asyncio
import shutil
import threading
import time
from functools import partial

import pytest
from running.managers import fixed, load, manage, model, states
from sample_models import tiny_models

from serving.engine.catalog import Catalog, State
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import DeviceError
from serving.errors import NotFound, StatusCode, Unavailable, UnknownError
from serving.repository.model_config import Specific, by_name, find_models


def test_a_half_copied_version_loads_once_it_is_whole(tmp_path):
    """A version that contradicts its manifest is looked at again as soon as its files change."""
    source = tiny_models.brightness(tmp_path / "source")
    target = tmp_path / "models" / "brightness" / "1"
    target.mkdir(parents=True)

    async def scenario(manager):
        for name in ("manifest.json", "signature.json"):
            shutil.copy(source / name, target)
        await manager.update()
        failed = manager.catalog.statuses("brightness")[0]
        shutil.copy(source / "model.onnx", target)
        await manager.update()
        return failed, states(manager, "brightness")

    failed, after = manage(scenario, partial(find_models, tmp_path / "models"))

    assert failed.state is State.END
    assert "model.onnx is listed in manifest.json but missing" in failed.error_message
    assert after == {1: State.AVAILABLE}


def test_failed_loads_are_tried_again_a_few_times(tmp_path):
    """A load that failed for another reason than its files is retried max_load_retries times."""
    tiny_models.identity(tmp_path)
    tries = []

    def failing(name, version, path):
        tries.append(version)
        msg = "out of memory"
        raise MemoryError(msg)

    async def scenario(manager):
        for _ in range(6):
            await manager.update()
        return manager.catalog.statuses("identity")[0]

    status = manage(
        scenario, partial(find_models, tmp_path), failing, max_load_retries=2, retry_seconds=-1
    )

    assert len(tries) == 3
    assert (status.error_code, status.error_message) == (StatusCode.UNKNOWN, "out of memory")


def test_a_failed_load_is_tried_again_without_polls(tmp_path, monkeypatch):
    """With poll_seconds 0, a failed load is retried, but no new version is looked for.

    TensorFlow Serving retries loads independently of its polls, too.
    """
    monkeypatch.setattr("serving.engine.manager._LEAST_RETRY_SECONDS", 0.01)
    tiny_models.identity(tmp_path)
    tries = []

    def failing_once(name, version, path):
        tries.append(version)
        if len(tries) == 1:
            msg = "out of memory"
            raise MemoryError(msg)
        return load(name, version, path)

    async def scenario(manager):
        tiny_models.identity(tmp_path, version=2)
        tried = asyncio.Event()
        manager.on_change = tried.set
        await asyncio.wait_for(tried.wait(), 30)
        return states(manager, "identity")

    find = partial(find_models, tmp_path)

    assert manage(scenario, find, failing_once, retry_seconds=0) == {1: State.AVAILABLE}
    assert tries == [1, 1]


def test_a_model_that_is_loading_is_unavailable_not_unknown(tmp_path):
    """While a version loads, it is UNAVAILABLE with "retry shortly"; others are NOT_FOUND."""
    tiny_models.identity(tmp_path)
    seen = []

    async def run():
        loop = asyncio.get_running_loop()

        def slow_load(name, version, path):
            asyncio.run_coroutine_threadsafe(look(), loop).result()
            return load(name, version, path)

        manager = Manager(partial(find_models, tmp_path), slow_load, ManagerConfig(), Catalog())

        async def look():
            for version in (None, 1):
                try:
                    manager.catalog.servable("identity", version)
                except Unavailable as error:
                    seen.append(error.message)
            with pytest.raises(NotFound):
                manager.catalog.servable("identity", 2)

        await manager.start()
        await manager.close()

    asyncio.run(run())

    assert seen == [
        f"Servable is not available for request: {request}; version 1 is LOADING, retry shortly"
        for request in ("Latest(identity)", "Specific(identity, 1)")
    ]


def test_every_wanted_version_is_announced_before_any_is_loaded(tmp_path):
    """While the first one loads, those that come later are START."""
    for name in ("a", "b"):
        tiny_models.identity(tmp_path / "source")
        shutil.copytree(tmp_path / "source" / "identity", tmp_path / "models" / name)
    seen = []
    catalog = Catalog()

    def noting(name, version, path):
        seen.append({each: catalog.known_statuses(each)[0].state for each in ("a", "b")})
        return load(name, version, path)

    async def run():
        find = partial(find_models, tmp_path / "models")
        manager = Manager(find, noting, ManagerConfig(poll_seconds=0), catalog)
        await manager.start()
        await manager.close()

    asyncio.run(run())

    assert seen == [
        {"a": State.LOADING, "b": State.START},
        {"a": State.AVAILABLE, "b": State.LOADING},
    ]


def test_the_models_of_a_reload_are_unavailable_while_they_load(tmp_path):
    """Models of a reload are UNAVAILABLE while they load, and NOT_FOUND if the reload fails."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)
    seen = []

    async def run():
        loop = asyncio.get_running_loop()

        def slow_load(name, version, path):
            if name != "identity":
                asyncio.run_coroutine_threadsafe(look(), loop).result()
            return load(name, version, path)

        find = fixed(model("identity", tmp_path / "identity"))
        manager = Manager(find, slow_load, ManagerConfig(poll_seconds=0), Catalog())

        async def look():
            assert manager.catalog.servable("identity").version == 1
            with pytest.raises(Unavailable) as caught:
                manager.catalog.servable("new")
            seen.append((caught.value.message, states(manager, "new")))

        await manager.start()
        new, broken = model("new", tmp_path / "add"), model("broken", tmp_path / "nowhere")
        with pytest.raises(UnknownError, match="name: broken"):
            await manager.reload(by_name([new, broken]))
        with pytest.raises(NotFound, match=r"Latest\(new\); models here: identity"):
            manager.catalog.servable("new")
        await manager.reload(by_name([new]))
        assert manager.catalog.servable("new").version == 1
        assert not manager.catalog.coming
        await manager.close()

    asyncio.run(run())

    message = (
        "Servable is not available for request: Latest(new); version 1 is LOADING, retry shortly"
    )
    assert seen == [(message, {1: State.LOADING})] * 2


def test_a_model_without_versions_is_unavailable_and_served_once_it_has_one(tmp_path, caplog):
    """A configured model without versions is UNAVAILABLE and served once it has a version.

    Its log line begins as TensorFlow Serving's does. Other models do not wait for it.
    """
    tiny_models.identity(tmp_path)
    (tmp_path / "empty").mkdir()

    async def scenario(manager):
        assert manager.catalog.servable("identity").version == 1
        refusals = []
        for version in (None, 1):
            with pytest.raises(Unavailable) as caught:
                manager.catalog.servable("empty", version)
            refusals.append(caught.value.message)
        tiny_models.identity(tmp_path, name="empty")
        await manager.update()
        return refusals, manager.catalog.servable("empty").version

    find = fixed(model("empty", tmp_path / "empty"), model("identity", tmp_path / "identity"))
    refusals, version = manage(scenario, find)

    reason = f"No versions of servable empty found under base path {tmp_path / 'empty'}"
    assert refusals == [
        f"Servable is not available for request: {request}; {reason}"
        for request in ("Latest(empty)", "Specific(empty, 1)")
    ]
    assert version == 1
    assert caplog.text.count(reason) == 1


def test_a_policy_without_a_version_names_those_there_are(tmp_path, caplog):
    """If the version policy chooses none of the existing versions, the message lists them.

    A wrong version number is a more likely mistake than an empty folder.
    """
    tiny_models.identity(tmp_path)

    async def scenario(manager):
        with pytest.raises(Unavailable, match=r"by its version policy; there are 1$"):
            manager.catalog.servable("identity")

    manage(scenario, fixed(model("identity", tmp_path / "identity", policy=Specific((7,)))))


def test_a_load_is_listed_although_its_start_was_cancelled(tmp_path):
    """A cancelled start leaves the running load in `loads`; `close` does not wait for it."""
    tiny_models.identity(tmp_path)
    begun, release = threading.Event(), threading.Event()

    def slow_load(name, version, path):
        begun.set()
        release.wait(30)
        return load(name, version, path)

    async def run():
        find = partial(find_models, tmp_path)
        manager = Manager(find, slow_load, ManagerConfig(poll_seconds=0), Catalog())
        starting = asyncio.create_task(manager.start())
        await asyncio.to_thread(begun.wait, 30)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.wait_for(manager.close(), 10)
        during = list(manager.loads)
        release.set()
        return during, manager

    during, manager = asyncio.run(run())  # returns when the load's threads have ended

    assert during == ["identity/1"]
    assert not manager.loads


def test_a_version_that_the_device_refuses_is_retried_like_any_other(tmp_path):
    """While the server runs, such a version fails, waits for its retry, and holds up no model."""
    tiny_models.identity(tmp_path)
    tried = []

    def on_a_broken_gpu(name, version, path):
        if name == "broken":
            tried.append(version)
            msg = "CUDA does not work"
            raise DeviceError(msg)
        return load(name, version, path)

    async def run():
        config = ManagerConfig(poll_seconds=0.01, retry_seconds=60)
        manager = Manager(partial(find_models, tmp_path), on_a_broken_gpu, config, Catalog())
        await manager.start()
        shutil.copytree(tmp_path / "identity", tmp_path / "broken")
        shutil.copytree(tmp_path / "identity", tmp_path / "last")
        give_up_at = time.monotonic() + 20
        while (  # noqa: ASYNC110 - the manager has no event for it
            "last" not in manager.catalog.availability and time.monotonic() < give_up_at
        ):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # some thirty polls
        statuses = manager.catalog.statuses("broken"), states(manager, "last")
        await manager.close()
        return statuses

    (broken,), last = asyncio.run(run())

    assert last == {1: State.AVAILABLE}
    assert (broken.state, broken.error_message) == (State.END, "CUDA does not work")
    assert tried == [1]


@pytest.mark.parametrize("change", ["start", "reload"])
def test_a_device_that_refuses_a_model_ends_a_start_or_a_reload(tmp_path, change):
    """At a start, DeviceError is raised; a reload is refused with its message."""
    tiny_models.identity(tmp_path)

    def refuse(_name, _version, _path):
        msg = "CUDA does not work"
        raise DeviceError(msg)

    async def run():
        manager = Manager(dict, refuse, ManagerConfig(poll_seconds=0), Catalog())
        if change == "start":
            manager = Manager(
                partial(find_models, tmp_path), refuse, ManagerConfig(poll_seconds=0), Catalog()
            )
        else:
            await manager.start()
        try:
            await (manager.start() if change == "start" else manager.reload(find_models(tmp_path)))
        finally:
            await manager.close()

    with pytest.raises(DeviceError if change == "start" else UnknownError, match="does not work"):
        asyncio.run(run())
