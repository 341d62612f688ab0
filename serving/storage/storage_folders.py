"""Versions in stores: listed in the background, and fetched into the cache when they are wanted."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.errors import NotFound, ServingError
from serving.repository.model_config import ModelConfig
from serving.repository.storage_uri import StorageUri
from serving.repository.version_folders import BasePath, LocalFolders
from serving.storage import cache as caches
from serving.storage.cache import Cache, Stopped
from serving.storage.errors import FetchError, StoreError
from serving.storage.fetch import fetch
from serving.storage.listing import Listing
from serving.storage.store import Store
from serving.storage.watcher import Watcher

logger = logging.getLogger(__name__)

# Time between the two equal listings of a version without a manifest, at most.
_MOST_STABLE_SECONDS = 5.0


class StorageFolders:
    """Finds versions in stores and in local folders, and brings them to local folders.

    All methods may be called from several threads.
    """

    def __init__(
        self, cache: Cache, poll_seconds: float, note: Callable[[str], None] = lambda _stage: None
    ) -> None:
        """Start with nothing listed.

        Args:
            cache: The folder for fetched versions.
            poll_seconds: Time between two listings of a folder in a store.
            note: Called with the progress of a fetch, in its thread.
        """
        self._cache = cache
        self._poll_seconds = poll_seconds
        self._note = note
        self._watcher = Watcher(poll_seconds)
        self._stopped = Stopped()
        self._local = LocalFolders()
        self._stores: dict[str, Store] = {}
        self._making = threading.Lock()
        # The folder of each version that is served or wanted, and the lock that keeps it.
        self._held: dict[tuple[BasePath, int], tuple[Path, int]] = {}

    # Listing

    def find_models(self, models_dir: StorageUri) -> dict[str, ModelConfig]:
        """Return the models in a folder of a store by name: its folders that hold versions.

        If the store has never answered, these are the models in the cache.

        Raises:
            StoreError: the store has never answered, and the cache has no model.
        """
        try:
            names = self._folders(models_dir)
        except StoreError:
            names = self._cache.models(models_dir)
            if not names:
                raise
        for name in names:
            self._begin_listing(models_dir / name)
        models = {}
        for name in names:
            try:
                versions = self.list_versions(models_dir / name)
            except StoreError:  # the watcher has logged it
                continue
            if versions:
                models[name] = ModelConfig(name=name, base_path=models_dir / name)
        return models

    def list_versions(self, base_path: BasePath) -> list[int]:
        """See VersionFolders. If the store has never answered, these are the versions in the cache.

        Raises:
            StoreError: the store has never answered, and the cache has no version.
        """
        if not isinstance(base_path, StorageUri):
            return self._local.list_versions(base_path)
        try:
            names = self._folders(base_path)
        except StoreError:
            cached = sorted({place.version for place in self._cache.complete(base_path)})
            if not cached:
                raise
            return cached
        return sorted({int(name) for name in names if name.isascii() and name.isdigit()})

    def _folders(self, uri: StorageUri) -> list[str]:
        names: list[str] = self._watcher.answer(("folders", uri), self._asks_folders(uri))
        return names

    def _begin_listing(self, uri: StorageUri) -> None:
        self._watcher.begin(("folders", uri), self._asks_folders(uri))

    def _asks_folders(self, uri: StorageUri) -> Callable[[], list[str]]:
        return lambda: self._store(uri).folders(uri)

    def fingerprint(self, base_path: BasePath, version: int) -> object:
        """See VersionFolders."""
        if not isinstance(base_path, StorageUri):
            return self._local.fingerprint(base_path, version)
        try:
            uri = self._version_uri(base_path, version)
            listing: Listing = self._watcher.answer(
                ("files", uri), lambda: self._store(uri).listing(uri)
            )
        except (OSError, ServingError):
            return None
        return listing.fingerprint

    # Fetching

    def is_local(self, base_path: BasePath, version: int) -> bool:
        """See VersionFolders."""
        return not isinstance(base_path, StorageUri) or (base_path, version) in self._held

    def bring(self, base_path: BasePath, version: int) -> Path:
        """See VersionFolders. If the store does not answer, what the cache has is taken.

        Raises:
            FetchError: the store or the disk failed, or the files changed meanwhile; a later
                attempt may succeed.
            DataLoss: the files contradict the version's manifest.
            NotFound: the store has no such version.
        """
        if not isinstance(base_path, StorageUri):
            return self._local.bring(base_path, version)
        held = self._held.get((base_path, version))
        if held is not None:
            return held[0]
        try:
            self._cache.prepare(base_path)
        except OSError as error:
            msg = (
                f"the cache {self._cache.path} cannot be written to ({error.strerror}); pass a "
                "--storage_cache_dir that this user may write to"
            )
            raise FetchError(msg) from error
        try:
            uri = self._version_uri(base_path, version)
            listing = self._whole_listing(uri)
        except StoreError as error:
            return self._from_cache(base_path, version, error)
        place = self._cache.place(base_path, version, listing.fingerprint)
        with caches.fetching(place, self._stopped) as lock:
            if lock is not None:
                began = time.monotonic()
                fetch(
                    self._store(uri),
                    uri,
                    listing,
                    self._cache,
                    place,
                    note=self._note,
                    stopped=self._stopped,
                )
                seconds = time.monotonic() - began
                logger.info(
                    "fetched %s: %.1f MB in %.1f s, into %s",
                    uri,
                    listing.bytes / 1e6,
                    seconds,
                    place.folder,
                )
        return self._hold(base_path, version, place)

    def _hold(self, base_path: StorageUri, version: int, place: caches.Place) -> Path:
        lock = caches.use(place)
        if lock is None:
            msg = f"{place.folder} was removed meanwhile; it is fetched again"
            raise FetchError(msg)
        if (base_path, version) in self._held:
            os.close(lock)
        else:
            self._held[base_path, version] = (place.folder, lock)
        return place.folder

    def _from_cache(self, base_path: StorageUri, version: int, error: StoreError) -> Path:
        for place in reversed(self._cache.complete(base_path)):
            if place.version == version:
                logger.warning(
                    "%s; serving version %d as it was fetched before, from %s",
                    error,
                    version,
                    place.folder,
                )
                return self._hold(base_path, version, place)
        raise FetchError(str(error)) from error

    def _version_uri(self, base_path: StorageUri, version: int) -> StorageUri:
        """Return the folder of a version; leading zeros count, as in TensorFlow Serving."""
        names = self._folders(base_path)
        for name in (str(version), *names):
            if name in names and name.isascii() and name.isdigit() and int(name) == version:
                return base_path / name
        msg = f"version {version} not found in {base_path}"
        raise NotFound(msg)

    def _whole_listing(self, uri: StorageUri) -> Listing:
        """List a version that is complete: it has a manifest, or has stayed the same for a while.

        Raises:
            StoreError: the store does not answer.
        """
        store = self._store(uri)
        listing = store.listing(uri)
        while not listing.has_manifest:
            self._note("waiting until the store lists the same files twice")
            time.sleep(min(self._poll_seconds, _MOST_STABLE_SECONDS))
            self._stopped.check()
            again = store.listing(uri)
            if again.files and again.fingerprint == listing.fingerprint:
                break
            if not again.files:
                msg = f"{uri} holds no file, expected the files of a version"
                raise NotFound(msg)
            listing = again
        return listing

    def _store(self, uri: StorageUri) -> Store:
        """Return the store of a URI: one for each scheme, host and bucket.

        Raises:
            StoreError: the library of the scheme is not installed.
        """
        with self._making:
            if uri.root not in self._stores:
                self._stores[uri.root] = Store(uri)
            return self._stores[uri.root]

    # Ending

    def keep(self, kept: frozenset[tuple[BasePath, int]]) -> None:
        """See VersionFolders: other versions may be removed from the cache from now on."""
        for key in [key for key in self._held if key not in kept]:
            _, lock = self._held.pop(key)
            os.close(lock)

    def stop(self) -> None:
        """End the listing and the fetches, the latter after the part under way."""
        self._stopped.is_set = True
        self._watcher.close()
