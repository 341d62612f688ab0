"""Where the manager finds versions: an interface, and its form for local folders."""

from pathlib import Path
from typing import Protocol

from serving.repository import model_folder
from serving.repository.storage_uri import StorageUri

BasePath = Path | StorageUri
"""Folder of a model, which holds its version folders."""


class VersionFolders(Protocol):
    """Finds the versions of models, and brings them to local folders. All methods may block."""

    def list_versions(self, base_path: BasePath) -> list[int]:
        """Return a model's version numbers in ascending order; a missing folder has none.

        Raises:
            OSError: the folder cannot be read.
        """

    def fingerprint(self, base_path: BasePath, version: int) -> object:
        """Return a value that changes if a file of the version changes."""

    def is_local(self, base_path: BasePath, version: int) -> bool:
        """Return whether `bring` would return at once."""

    def bring(self, base_path: BasePath, version: int) -> Path:
        """Return the local folder of a version, after fetching it where that is necessary.

        Raises:
            OSError, ServingError: the version does not exist or cannot be fetched.
        """

    def keep(self, kept: frozenset[tuple[BasePath, int]]) -> None:
        """Let go of all versions but these, which are served or wanted."""


class LocalFolders:
    """Versions in local folders, which stay where they are."""

    def list_versions(self, base_path: BasePath) -> list[int]:
        """See VersionFolders."""
        return model_folder.list_versions(_local(base_path))

    def fingerprint(self, base_path: BasePath, version: int) -> object:
        """See VersionFolders."""
        return model_folder.fingerprint(_local(base_path), version)

    def is_local(self, base_path: BasePath, version: int) -> bool:  # noqa: ARG002 - the interface
        """See VersionFolders."""
        return True

    def bring(self, base_path: BasePath, version: int) -> Path:
        """See VersionFolders."""
        return model_folder.version_path(_local(base_path), version)

    def keep(self, kept: frozenset[tuple[BasePath, int]]) -> None:
        """See VersionFolders."""


def local_folder(folders: VersionFolders, base_path: BasePath, version: int) -> Path:
    """Return the folder of a version that is on the local disk already.

    Raises:
        OSError, ServingError: there is no such version, or it would have to be fetched.
    """
    if not folders.is_local(base_path, version):
        msg = f"version {version} of {base_path} is not on this disk"
        raise FileNotFoundError(msg)
    return folders.bring(base_path, version)


def _local(base_path: BasePath) -> Path:
    if isinstance(base_path, StorageUri):
        msg = f"{base_path} is not a local folder"
        raise TypeError(msg)
    return base_path
