"""What a store says about the files of a version."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from serving.errors import DataLoss
from serving.repository.model_folder import MANIFEST_FILE

_MOST_FILES = 10_000
# What stores call the value that changes with a file's content, the best one first.
_TAGS = (
    *("ETag", "etag", "blob_id", "oid", "md5Hash", "generation", "version_id"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "updated"),
)


@dataclass(frozen=True)
class StoredFile:
    """A file of a version in a store.

    Attributes:
        size: Bytes; None if the store does not say it.
        tag: Changes with the content, where the store has such a value; "" otherwise.
    """

    size: int | None
    tag: str = ""


@dataclass(frozen=True)
class Listing:
    """The files of a version, by their path in it, such as "variables/variables.index"."""

    files: Mapping[str, StoredFile]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any name, size or tag."""
        entries = sorted((name, file.size, file.tag) for name, file in self.files.items())
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]

    @property
    def bytes(self) -> int:
        """Size of all files, as far as it is known."""
        return sum(file.size or 0 for file in self.files.values())

    @property
    def has_manifest(self) -> bool:
        """Whether a manifest, which is written last, says that the version is complete."""
        return MANIFEST_FILE in self.files


def listing_of(where: str, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> Listing:
    """Return a listing.

    Args:
        where: The version, for messages.
        entries: Path in the version and the store's description of each file.

    Raises:
        DataLoss: a path would leave the version's folder, or there are too many files.
    """
    files: dict[str, StoredFile] = {}
    for name, entry in entries:
        path = PurePosixPath(name)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
            msg = f"{where} has a file {name!r}, expected a path inside the version's folder"
            raise DataLoss(msg)
        if len(files) == _MOST_FILES:
            msg = f"{where} has more than {_MOST_FILES:,} files, expected the files of one version"
            raise DataLoss(msg)
        size = entry.get("size")
        tag = next((entry[key] for key in _TAGS if entry.get(key) not in {None, ""}), "")
        files[str(path)] = StoredFile(None if size is None else int(size), str(tag))
    return Listing(files)
