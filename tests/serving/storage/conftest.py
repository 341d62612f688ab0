"""A store with two models on a web server, and the folders that bring them here."""

import pytest
from running.file_server import FileServer, file_server
from sample_models import arithmetic_models, tiny_models

from serving.repository.storage_uri import StorageUri
from serving.storage import store
from serving.storage.cache import Cache
from serving.storage.storage_folders import StorageFolders

POLL_SECONDS = 0.1


@pytest.fixture(autouse=True)
def _quick_tries(monkeypatch):
    """Short pauses between the tries to read a part."""
    monkeypatch.setattr(store, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def stored(tmp_path):
    """The folder that the web server serves: a model with a manifest, and one without."""
    folder = tmp_path / "stored"
    arithmetic_models.half_plus_two(folder)
    tiny_models.identity(folder)
    return folder


@pytest.fixture
def web(stored) -> FileServer:
    """The web server of the folder."""
    with file_server(stored) as server:
        yield server


@pytest.fixture
def half(web) -> StorageUri:
    """The base path of the model with a manifest."""
    return StorageUri.parse(f"{web.url}/half_plus_two")


@pytest.fixture
def make_folders(tmp_path):
    """Make `StorageFolders` with one cache; they end with the test."""
    made = []

    def make(max_bytes: int = 0) -> StorageFolders:
        cache = Cache(tmp_path / "cache", max_bytes)
        made.append(StorageFolders(cache, POLL_SECONDS))
        return made[-1]

    yield make
    for folders in made:
        folders.keep(frozenset())
        folders.stop()


@pytest.fixture
def folders(make_folders) -> StorageFolders:
    """Folders without a limit of bytes."""
    return make_folders()
