"""Fetches a version from a store into the cache: resumed, checked, and complete or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from serving.errors import DataLoss
from serving.repository import model_folder
from serving.repository.storage_uri import StorageUri
from serving.storage.cache import Cache, Place, Stopped
from serving.storage.errors import FetchError
from serving.storage.listing import Listing
from serving.storage.store import Store


def fetch(
    store: Store,
    uri: StorageUri,
    listing: Listing,
    cache: Cache,
    place: Place,
    *,
    note: Callable[[str], None],
    stopped: Stopped,
) -> None:
    """Fetch a version; what an earlier attempt fetched of the same files is kept.

    The caller holds the version's lock.

    Args:
        store: The store.
        uri: The version's folder in it.
        listing: The files.
        cache: The cache.
        place: The version's place in the cache.
        note: Called with the progress, for the log.
        stopped: Ends the fetching.

    Raises:
        FetchError: the store or the disk failed, or the files changed meanwhile.
        DataLoss: the files contradict the version's manifest.
    """
    part = place.part
    here = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    cache.make_room(max(0, listing.bytes - here), str(uri))
    try:
        for name in sorted(listing.files):
            _fetch_file(store, uri, listing, name, part / name, note=note, stopped=stopped)
        _sync(part)
    except FetchError:
        raise
    except OSError as error:
        msg = f"{uri} cannot be written to {part}: {error.strerror}; see --storage_cache_dir"
        raise FetchError(msg) from error
    if store.listing(uri).fingerprint != listing.fingerprint:
        shutil.rmtree(part, ignore_errors=True)
        msg = f"{uri} changed while it was fetched; it is fetched again"
        raise FetchError(msg)
    if listing.has_manifest:
        try:
            model_folder.verify_manifest(part)
        except DataLoss as error:
            shutil.rmtree(part, ignore_errors=True)
            msg = f"{uri}, as fetched: {error.message.replace(str(part), str(uri))}"
            raise DataLoss(msg) from error
    part.rename(place.folder)
    _sync_folder(place.folder.parent)


def _fetch_file(
    store: Store,
    uri: StorageUri,
    listing: Listing,
    name: str,
    target: Path,
    *,
    note: Callable[[str], None],
    stopped: Stopped,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    size = listing.files[name].size
    if target.is_file() and size is not None and target.stat().st_size > size:
        target.unlink()
    of = "" if size is None else f" of {size / 1e6:,.1f}"
    with target.open("ab") as file:
        note(f"fetching {name}: {file.tell() / 1e6:,.1f}{of} MB")
        for done in store.copy(uri, name, size, file):
            stopped.check()
            note(f"fetching {name}: {done / 1e6:,.1f}{of} MB")
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Have the disk hold the folders, before the version's name says that it is complete."""
    folder.mkdir(parents=True, exist_ok=True)  # a version without files
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
