"""Tests of reloads: the model set is replaced at once, or prepared and committed."""

import asyncio
import threading
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running.managers import fixed, load, manage, model
from sample_models import tiny_models

from serving.engine.catalog import Catalog
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.errors import (
    FailedPrecondition,
    Unavailable,
    UnknownError,
)
from serving.repository.model_config import ModelConfig, by_name, find_models


def test_reload_replaces_the_whole_set(tmp_path):
    """A reload drops unlisted models, loads new ones, and keeps shared models loaded."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)
    tiny_models.lookup(tmp_path)

    async def scenario(manager):
        shared = manager.catalog.servable("identity")
        await manager.reload(
            by_name(
                [
                    model("identity", tmp_path / "identity", labels={"stable": 1}),
                    model("lookup", tmp_path / "lookup"),
                ]
            )
        )
        await manager.update()
        same = manager.catalog.servable("identity", label="stable") is shared
        return manager.catalog.availability, same

    availability, same = manage(
        scenario, fixed(model("identity", tmp_path / "identity"), model("add", tmp_path / "add"))
    )

    assert availability == {"identity": True, "lookup": True}
    assert same


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"base_path": Path("/nowhere")},
            UnknownError,
            r"1 model\(s\) did not become available: {{{name: new} due to error: .+}, }; the",
        ),
        (
            {"labels": {"stable": 7}},
            FailedPrecondition,
            "Request to assign label to version 7 of model new, which is not currently available",
        ),
    ],
)
def test_a_reload_that_fails_changes_nothing(tmp_path, changes, error, message):
    """A reload with one bad model keeps the whole old set, unlike in TensorFlow Serving."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)

    async def scenario(manager):
        shared = manager.catalog.servable("identity")
        settings = {"name": "new", "base_path": tmp_path / "add"} | changes
        with pytest.raises(error, match=message):
            await manager.reload(by_name([ModelConfig(**settings)]))
        await manager.update()
        answer = await manager.catalog.servable("identity").predict(
            "serving_default", {"x": np.ones((1, 3), np.float32)}, ["y"]
        )
        return (
            manager.catalog.availability,
            manager.catalog.servable("identity") is shared,
            answer["y"].tolist(),
        )

    availability, same, answer = manage(scenario, fixed(model("identity", tmp_path / "identity")))

    assert availability == {"identity": True}
    assert same
    assert answer == [[1, 1, 1]]


def test_a_reload_that_is_cancelled_changes_nothing(tmp_path):
    """A cancelled reload keeps the old set, leaves no thread behind and allows another reload."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)
    begun, release = threading.Event(), threading.Event()

    def slow_load(name, version, path):
        if name == "new":
            begun.set()
            release.wait(20)
        return load(name, version, path)

    def threads():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("new/")]

    async def scenario(manager):
        new = by_name([model("new", tmp_path / "add")])
        reloading = asyncio.create_task(manager.reload(new))
        await asyncio.to_thread(begun.wait, 20)
        reloading.cancel()
        await asyncio.wait({reloading})
        cancelled = reloading.cancelled(), manager.catalog.availability, manager.catalog.coming
        release.set()
        while manager.loads or threads():  # noqa: ASYNC110 - a thread empties them
            await asyncio.sleep(0.01)
        await asyncio.wait_for(manager.reload(new), 20)
        return cancelled, manager.catalog.availability

    cancelled, after = manage(
        lambda manager: asyncio.wait_for(scenario(manager), 20),
        fixed(model("identity", tmp_path / "identity")),
        slow_load,
    )

    assert cancelled == (True, {"identity": True}, {})
    assert after == {"new": True}


def test_a_prepared_set_is_not_served(tmp_path):
    """Between `prepare` and `commit` the old set is served; `abort` ends the new set's threads."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)

    async def scenario(manager):
        new = by_name([model("later", tmp_path / "add")])
        await manager.prepare(new)
        prepared = manager.catalog.availability
        await manager.abort()
        left = [t.name for t in threading.enumerate() if t.name.startswith("later/")]
        await manager.prepare(new)
        await manager.commit()
        return prepared, left, manager.catalog.availability

    prepared, left, committed = manage(scenario, fixed(model("identity", tmp_path / "identity")))

    assert prepared == {"identity": True}
    assert not left, "abort must end the threads of the prepared set"
    assert committed == {"later": True}


def test_a_prepared_set_does_not_keep_the_server_from_stopping(tmp_path):
    """`close` returns although a prepared set was neither committed nor aborted.

    The supervisor that would have sent `commit` may be gone.
    """
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)

    async def scenario(manager):
        await manager.prepare(by_name([model("add", tmp_path / "add")]))
        await asyncio.wait_for(manager.close(), 30)

    manage(scenario, fixed(model("identity", tmp_path / "identity")))


def test_a_set_is_not_prepared_by_a_server_that_stops(tmp_path):
    """If the server is closed during `prepare`, `prepare` raises Unavailable."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)

    async def scenario(manager):
        preparing = asyncio.create_task(manager.prepare(by_name([model("add", tmp_path / "add")])))
        await asyncio.sleep(0)
        await asyncio.wait_for(manager.close(), 30)
        with pytest.raises(Unavailable, match="about to stop"):
            await preparing

    manage(scenario, fixed(model("identity", tmp_path / "identity")))


def test_loading_is_entered_before_the_first_load(tmp_path):
    """`loading` is entered before the first model loads and left after the last one.

    The supervisor must know of a load before ONNX Runtime blocks the event loop.
    """
    tiny_models.identity(tmp_path)
    happened = []

    class Watched(Manager):
        @asynccontextmanager
        async def loading(self):
            happened.append("begin")
            yield
            happened.append("end")

    def noted(name, version, path):
        happened.append("load")
        return load(name, version, path)

    async def run():
        manager = Watched(partial(find_models, tmp_path), noted, ManagerConfig(), Catalog())
        await manager.start()
        await manager.close()

    asyncio.run(run())

    assert happened == ["begin", "load", "end"]


def test_a_moved_model_is_loaded_from_its_new_place(tmp_path):
    """A model whose base path changes is loaded anew, although name and version are the same."""
    tiny_models.identity(tmp_path / "old", name="m")
    tiny_models.add(tmp_path / "new", name="m")

    async def scenario(manager):
        await manager.reload(by_name([model("m", tmp_path / "new" / "m")]))
        return sorted(manager.catalog.servable("m").signatures["serving_default"].inputs)

    assert manage(scenario, fixed(model("m", tmp_path / "old" / "m"))) == ["a", "b"]


def test_loaded_versions_are_reported_in_the_event_loop(tmp_path):
    """`on_load` runs in the loop's thread, where the page of metrics is made, and before calls."""
    tiny_models.identity(tmp_path)
    seen = []

    async def run():
        manager = Manager(dict, load, ManagerConfig(poll_seconds=0), Catalog())
        loop_thread = threading.current_thread()

        def note(servable):
            called = [*manager.catalog.models.values()]
            is_served = any(servable in model.servables.values() for model in called)
            seen.append((threading.current_thread() is loop_thread, is_served))

        manager.on_load = note
        await manager.start()
        await manager.reload(find_models(tmp_path))
        await manager.close()

    asyncio.run(run())

    assert seen == [(True, False)]
