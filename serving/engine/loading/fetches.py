"""Brings wanted versions to local folders, several at a time, while what is loaded is served."""

import asyncio
from collections.abc import Collection, Container
from pathlib import Path

from serving.engine.loading import progress
from serving.repository.version_folders import BasePath, VersionFolders
from serving.uncancelled import uncancelled

_Key = tuple[BasePath, int]


class Fetches:
    """The fetches under way. All methods must be called in the same event loop."""

    def __init__(self, folders: VersionFolders) -> None:
        self._folders = folders
        self._tasks: dict[_Key, asyncio.Task[Path]] = {}
        self._names: list[str] = []

    @property
    def under_way(self) -> Collection[str]:
        """Versions that a thread is fetching now, as `name/version`, cancelled ones included."""
        return self._names

    async def path(
        self, name: str, base_path: BasePath, version: int, *, waits: bool
    ) -> Path | None:
        """Return the local folder of a version.

        Args:
            name: Model name, for the log.
            base_path: Folder of the model.
            version: The version.
            waits: Whether to wait for the end of a fetch.

        Returns:
            The folder; None if it is being fetched, and the call does not wait.

        Raises:
            OSError, ServingError: see `VersionFolders.bring`.
        """
        if self._folders.is_local(base_path, version):
            return await asyncio.to_thread(self._folders.bring, base_path, version)
        key = base_path, version
        task = self._begin(name, base_path, version)
        if not waits and not task.done():
            return None
        try:
            return await uncancelled(task)
        finally:
            if task.done():
                self._tasks.pop(key, None)

    def begin(self, name: str, base_path: BasePath, version: int) -> None:
        """Start to fetch a version, unless it is local or being fetched."""
        if not self._folders.is_local(base_path, version):
            self._begin(name, base_path, version)

    def _begin(self, name: str, base_path: BasePath, version: int) -> asyncio.Task[Path]:
        key = base_path, version
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._bring(f"{name}/{version}", *key))
        return self._tasks[key]

    async def _bring(self, servable: str, base_path: BasePath, version: int) -> Path:
        async with progress.reported(servable):
            return await asyncio.to_thread(self._bring_now, servable, base_path, version)

    def _bring_now(self, servable: str, base_path: BasePath, version: int) -> Path:
        self._names.append(servable)
        try:
            return self._folders.bring(base_path, version)
        finally:
            self._names.remove(servable)

    def forget_all_but(self, kept: Container[_Key]) -> None:
        """Forget the results of fetches that nobody wants any more."""
        for key in [key for key, task in self._tasks.items() if task.done() and key not in kept]:
            task = self._tasks.pop(key)
            if not task.cancelled():
                task.exception()  # asyncio would log that nobody has looked at it

    def cancel(self) -> None:
        """Wait for no fetch any more; the threads end by themselves."""
        for task in self._tasks.values():
            task.cancel()
