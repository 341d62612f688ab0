"""Versions are fetched whole and right, or not at all, whatever the store does."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import file_server as faults

from serving.errors import DataLoss, NotFound
from serving.repository.model_folder import verify_manifest
from serving.repository.storage_uri import StorageUri
from serving.storage import store
from serving.storage.cache import Cache
from serving.storage.errors import FetchError
from serving.storage.storage_folders import StorageFolders


def assert_equal(here, stored):
    """Both folders have the same files with the same content."""
    files = [
        {
            file.relative_to(folder): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }
        for folder in (here, stored)
    ]
    assert files[0] == files[1]
    assert files[0]


def test_a_version_is_fetched_with_all_files(folders, half, stored):
    """The fetched version has the store's files, and its manifest holds."""
    assert folders.list_versions(half) == [1]
    assert not folders.is_local(half, 1)

    path = folders.bring(half, 1)

    assert_equal(path, stored / "half_plus_two" / "1")
    assert verify_manifest(path)
    assert folders.is_local(half, 1)
    assert folders.bring(half, 1) == path


def test_files_in_subfolders_are_fetched(folders, web, stored):
    """A version without a manifest is taken with its folders, once its listing stays the same."""
    (stored / "identity/1/assets/deep").mkdir(parents=True)
    (stored / "identity/1/assets/deep/some words.txt").write_text("a b")

    path = folders.bring(StorageUri.parse(f"{web.url}/identity"), 1)

    assert_equal(path, stored / "identity" / "1")


def test_leading_zeros_count(folders, web, stored):
    """Version 1 may be the folder 0001."""
    (stored / "half_plus_two/1").rename(stored / "half_plus_two/0001")
    half = StorageUri.parse(f"{web.url}/half_plus_two")

    assert folders.list_versions(half) == [1]
    assert_equal(folders.bring(half, 1), stored / "half_plus_two/0001")


def test_a_version_that_is_not_there_is_named(folders, half):
    """The message has the version and the folder."""
    with pytest.raises(NotFound, match=r"version 7 not found in http://127\.0\.0\.1"):
        folders.bring(half, 7)


@pytest.mark.parametrize(
    "fault",
    [faults.error(500), faults.error(503), faults.reset, faults.truncated],
    ids=["500", "503", "reset", "truncated"],
)
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_store_that_fails_at_times_is_asked_again(  # noqa: PLR0917 - fixtures
    folders, half, stored, web, fault, ranges, monkeypatch
):
    """A few failures of a file are made up for, and the file is right."""
    monkeypatch.setattr(store, "_PART_BYTES", 64)
    web.ranges = ranges
    web.faults = [faults.first(2, fault, of="model.onnx")]

    assert_equal(folders.bring(half, 1), stored / "half_plus_two" / "1")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.error(500), "model.onnx cannot be read: .*500"),
        (faults.reset, "model.onnx cannot be read"),
        (faults.truncated, "bytes"),
        (faults.error(403), "model.onnx cannot be read: access refused .*user:password@"),
        (faults.error(404), "model.onnx is gone since the folder was listed"),
    ],
    ids=["500", "reset", "truncated", "403", "404"],
)
def test_a_store_that_keeps_failing_is_an_error_and_leaves_nothing(  # noqa: PLR0917 - fixtures
    folders, half, stored, web, fault, reason, tmp_path
):
    """The error names file and cause; no version is complete; when the store is well, it is."""
    web.faults = [faults.always(fault, of="model.onnx")]

    with pytest.raises(FetchError, match=reason):
        folders.bring(half, 1)

    assert not folders.is_local(half, 1)
    assert not Cache(tmp_path / "cache", 0).complete(half)
    web.faults = []
    assert_equal(folders.bring(half, 1), stored / "half_plus_two" / "1")


def test_altered_files_are_refused(folders, half, stored, web):
    """A file that differs from the manifest is refused, and fetched anew the next time."""
    web.faults = [faults.always(faults.altered, of="model.onnx")]

    with pytest.raises(DataLoss, match=r"http://.*model.onnx has SHA-256 .* was altered"):
        folders.bring(half, 1)

    web.faults = []
    assert_equal(folders.bring(half, 1), stored / "half_plus_two" / "1")


def test_files_that_change_meanwhile_are_fetched_again(folders, web, stored):
    """If a file is replaced while others are fetched, no mixture is served."""
    for file in ("a", "b"):
        (stored / f"identity/1/{file}").write_text("old")

    def replace(handler) -> bool:
        (stored / "identity/1/a").write_text("new")
        return False

    web.faults = [faults.first(1, replace, of="/b")]
    identity = StorageUri.parse(f"{web.url}/identity")

    with pytest.raises(FetchError, match="changed while it was fetched"):
        folders.bring(identity, 1)

    path = folders.bring(identity, 1)
    assert (path / "a").read_text() == "new"
    assert_equal(path, stored / "identity" / "1")


def test_what_was_fetched_before_a_kill_is_kept(  # noqa: PLR0917 - fixtures
    half, stored, web, tmp_path, folders, monkeypatch
):
    """After SIGKILL, the next process fetches only what is missing."""
    big = stored / "half_plus_two/1/model.onnx"
    big.write_bytes(os.urandom(3 << 20))
    (stored / "half_plus_two/1/manifest.json").unlink()
    (stored / "half_plus_two/1/signature.json").unlink()
    web.pause = 0.05
    process = multiprocessing.get_context("spawn").Process(
        target=_bring, args=(half, tmp_path / "cache", 256 << 10)
    )
    process.start()
    deadline = time.monotonic() + 30
    while _size(tmp_path / "cache") < 1 << 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    before = _size(tmp_path / "cache")
    web.gets.clear()
    web.pause = 0

    monkeypatch.setattr(store, "_PART_BYTES", 256 << 10)
    path = folders.bring(half, 1)

    assert_equal(path, stored / "half_plus_two" / "1")
    starts = [int(asked[6:].split("-")[0]) for file, asked in web.gets if asked and "onnx" in file]
    assert min(starts) >= before - (256 << 10) > 0


def _bring(base_path, cache, part_bytes) -> None:
    store._PART_BYTES = part_bytes
    StorageFolders(Cache(cache, 0), 0.1).bring(base_path, 1)


def _size(folder) -> int:
    return sum(file.stat().st_size for file in folder.rglob("model.onnx") if file.is_file())


def test_several_processes_fetch_once(half, stored, web, make_folders):
    """Of four that want a version at the same time, one fetches it."""
    web.pause = 0.2
    several = [make_folders() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda folders: folders.bring(half, 1), several))

    assert len(set(paths)) == 1
    assert sum(path.endswith("model.onnx") for path, _ in web.gets) == 1
    assert_equal(paths[0], stored / "half_plus_two" / "1")


def test_a_full_cache_is_an_error_with_the_way_out(half, make_folders):
    """A version larger than the limit is refused before a byte is fetched."""
    with pytest.raises(FetchError, match=r"needs [\d,]+ bytes .* limit is 100, .*--storage_cache"):
        make_folders(max_bytes=100).bring(half, 1)


def test_versions_in_use_are_not_removed(half, stored, make_folders, web, tmp_path):
    """For a new version the oldest unused one goes; one in use by any process stays."""
    size = sum(file.stat().st_size for file in (stored / "half_plus_two/1").iterdir())
    for version in (2, 3):
        _copy(stored / "half_plus_two/1", stored / f"half_plus_two/{version}")
    first, other = (make_folders(max_bytes=int(2.5 * size)) for _ in range(2))
    paths = {version: first.bring(half, version) for version in (1, 2)}
    other.bring(half, 1)

    with pytest.raises(FetchError, match="versions in use take"):
        other.bring(half, 3)
    first.keep(frozenset({(half, 1)}))
    other.bring(half, 3)

    assert paths[1].is_dir()
    assert not paths[2].exists()


def _copy(source, target) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_a_stop_ends_a_fetch(half, web, make_folders, stored, monkeypatch):
    """A fetch ends after the part under way when the server stops."""
    monkeypatch.setattr(store, "_PART_BYTES", 1024)
    (stored / "half_plus_two/1/model.onnx").write_bytes(bytes(1 << 20))
    web.pause = 0.01
    folders = make_folders()

    with ThreadPoolExecutor(1) as pool:
        bringing = pool.submit(folders.bring, half, 1)
        time.sleep(0.5)
        folders.stop()
        with pytest.raises(FetchError, match="about to stop"):
            bringing.result(10)


def test_a_cache_that_cannot_be_written_names_the_flag(half, tmp_path):
    """The message has the folder and --storage_cache_dir."""
    (tmp_path / "file").write_text("no folder")
    folders = StorageFolders(Cache(tmp_path / "file", 0), 0.1)

    with pytest.raises(FetchError, match=r"cannot be written to .*--storage_cache_dir"):
        folders.bring(half, 1)
    folders.stop()
