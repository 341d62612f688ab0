import asyncio
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from managers import fixed, load, manage, model, states

from serving.engine.catalog import MAX_ENDED_STATUSES, Catalog, State
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import DeviceError
from serving.errors import (
    FailedPrecondition,
    InvalidInput,
    NotFound,
    StatusCode,
    Unavailable,
    UnknownError,
)
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


def test_labels_name_versions(tmp_path):
    """A label leads to its version; the refusal of an unknown label lists the existing labels."""
    for version in (1, 2):
        tiny_models.identity(tmp_path, version=version)
    config = model("m", tmp_path / "identity", policy=All(), labels={"stable": 1, "canary": 2})

    async def scenario(manager):
        with pytest.raises(InvalidInput) as caught:
            manager.catalog.servable("m", label="beta")
        versions = [
            manager.catalog.servable("m", label=label).version for label in ("stable", "canary")
        ]
        return versions, caught.value.message

    versions, message = manage(scenario, fixed(config))

    assert versions == [1, 2]
    assert message == "Unrecognized servable version label: beta; labels of m: stable, canary"


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


def test_a_label_on_a_version_that_is_not_there_stops_the_start(tmp_path):
    """A label on a version that does not exist stops the start with FAILED_PRECONDITION.

    Otherwise the first client that uses the label would find out. The message is TensorFlow
    Serving's.
    """
    tiny_models.identity(tmp_path)
    find = fixed(model("m", tmp_path / "identity", labels={"stable": 1, "canary": 2}))

    with pytest.raises(
        FailedPrecondition, match="assign label to version 2 of model m, which is not currently"
    ):
        manage(lambda _: None, find)


def test_a_label_may_wait_for_its_version_if_that_is_allowed(tmp_path):
    """With --allow_version_labels_for_unavailable_models, callers get NOT_FOUND until it loads."""
    tiny_models.identity(tmp_path)
    config = model("m", tmp_path / "identity", policy=All(), labels={"canary": 2})

    async def scenario(manager):
        with pytest.raises(NotFound, match=r"Specific\(m, 2\); versions available: 1"):
            manager.catalog.servable("m", label="canary")
        tiny_models.identity(tmp_path, version=2)
        await manager.update()
        return manager.catalog.servable("m", label="canary").version

    assert manage(scenario, fixed(config), allow_labels_for_unavailable=True) == 2


def test_a_label_in_use_never_moves_to_a_version_that_is_not_there(tmp_path):
    """A reload that moves a label in use to a missing version is refused, also with that flag.

    The flag is for new labels: callers of an existing label must keep getting answers.
    """
    tiny_models.identity(tmp_path)

    def config(**labels):
        return model("m", tmp_path / "identity", labels=labels)

    async def scenario(manager):
        with pytest.raises(FailedPrecondition, match="assign label to version 2 of model m"):
            await manager.reload(by_name([config(stable=2)]))
        await manager.reload(by_name([config(stable=1, canary=2)]))
        return manager.catalog.servable("m", label="stable").version

    find = fixed(config(stable=1))

    assert manage(scenario, find, allow_labels_for_unavailable=True) == 1


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
