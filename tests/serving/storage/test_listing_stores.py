"""What a store holds is known without waiting for it, also after it has gone."""

import logging
import time

import pytest
from running import file_server as faults
from sample_models import arithmetic_models

from serving.repository.storage_uri import StorageUri
from serving.storage.errors import StoreError


def eventually(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_models_are_the_folders_with_versions(folders, web, stored):
    """Folders without versions and files are no models."""
    (stored / "empty").mkdir()
    (stored / "notes.txt").write_text("x")

    models = folders.find_models(StorageUri.parse(web.url))

    assert set(models) == {"half_plus_two", "identity"}
    assert models["identity"].base_path == StorageUri.parse(f"{web.url}/identity")


def test_new_versions_and_models_are_found(folders, web, stored):
    """What is added later is found at a later poll."""
    uri = StorageUri.parse(web.url)
    assert set(folders.find_models(uri)) == {"half_plus_two", "identity"}

    arithmetic_models.half_plus_two(stored)
    arithmetic_models.half_plus_two(stored, "third")

    eventually(lambda: "third" in folders.find_models(uri))
    eventually(lambda: folders.list_versions(uri / "half_plus_two") == [1, 2])


def test_a_store_that_goes_away_takes_nothing_away(folders, half, web, caplog):
    """Failed listings change nothing, are told once, and delay nobody."""
    assert folders.list_versions(half) == [1]
    caplog.set_level(logging.ERROR)
    web.faults = [faults.always(faults.error(500))]

    eventually(lambda: caplog.messages)
    time.sleep(0.5)

    assert folders.list_versions(half) == [1]
    assert len(caplog.messages) == 1
    assert "cannot be listed" in caplog.messages[0]
    web.faults = [faults.always(faults.hanging(5))]
    time.sleep(0.2)
    began = time.monotonic()
    assert folders.list_versions(half) == [1]
    assert time.monotonic() - began < 0.1


def test_what_was_fetched_is_served_without_the_store(half, web, make_folders, caplog):
    """A process that starts while the store is away takes the cache, and says so."""
    path = make_folders().bring(half, 1)
    web.faults = [faults.always(faults.error(500))]
    later = make_folders()

    assert later.list_versions(half) == [1]
    assert set(later.find_models(StorageUri.parse(web.url))) == {"half_plus_two"}
    assert later.bring(half, 1) == path
    assert "serving version 1 as it was fetched before" in caplog.text


def test_a_store_that_was_never_there_is_an_error(folders):
    """Without a cache the reason is raised."""
    nowhere = StorageUri.parse("http://127.0.0.1:1/models")

    for look in (folders.list_versions, folders.find_models):
        with pytest.raises(StoreError, match=r"http://127.0.0.1:1/models: .*"):
            look(nowhere)


def test_a_missing_folder_has_no_versions(folders, web):
    """It may be filled later."""
    assert folders.list_versions(StorageUri.parse(f"{web.url}/nothing")) == []


def test_a_missing_library_names_the_extra(folders, monkeypatch):
    """The message has the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "adlfs", None)

    with pytest.raises(StoreError, match=r"az:// needs a library .*'\.\[azure\]'"):
        folders.list_versions(StorageUri.parse("az://container/models"))


def test_fingerprints_follow_the_files(folders, half, stored):
    """A changed file changes the fingerprint of its version at a later poll."""
    before = folders.fingerprint(half, 1)

    (stored / "half_plus_two/1/more").write_text("x")

    assert before is not None
    eventually(lambda: folders.fingerprint(half, 1) != before)
    assert folders.fingerprint(half, 9) is None
