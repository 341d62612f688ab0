"""A store behind a URI: lists folders, and reads parts of files, with fsspec.

https://filesystem-spec.readthedocs.io has the libraries behind the schemes. Each takes its
credentials from its own environment variables and files.
"""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from serving.errors import DataLoss
from serving.repository.storage_uri import EXTRAS, StorageUri
from serving.storage.errors import FetchError, StoreError, cause_of
from serving.storage.listing import Listing, listing_of

# Limits of one call to a store. A file is read in parts, so that a part is such a call.
CONNECT_SECONDS = 10
READ_SECONDS = 30
_PART_BYTES = 8 << 20
_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.5
# Statuses of HTTP that another try would not change.
_FINAL = (400, 401, 403, 405, 410)


class _NoPartsError(Exception):
    """A web server sends only whole files."""


class Store:
    """The file system of a URI. Its methods block, and may be called from several threads."""

    def __init__(self, uri: StorageUri) -> None:
        """Load the library of the URI's scheme; nothing is called yet.

        Raises:
            StoreError: the library is not installed.
        """
        try:
            import fsspec  # noqa: PLC0415 - an extra

            self._files: Any = fsspec.filesystem(
                uri.scheme, use_listings_cache=False, skip_instance_cache=True, **_options(uri)
            )
        except (ImportError, ValueError) as error:
            cause = (
                f"{uri.scheme}:// needs a library that is not installed ({error}); install it with "
                f"pip install -c constraints.txt '.[{EXTRAS[uri.scheme]}]'"
            )
            raise StoreError(uri, cause) from error

    def folders(self, uri: StorageUri) -> list[str]:
        """Return the names of the folders in a folder; empty if it does not exist.

        Raises:
            StoreError: the store cannot be reached, or refuses.
        """
        try:
            entries = self._files.ls(uri.text, detail=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise StoreError(uri, cause_of(uri, error)) from error
        return sorted(
            entry["name"].rstrip("/").rpartition("/")[2]
            for entry in entries
            if entry.get("type") == "directory"
        )

    def listing(self, uri: StorageUri) -> Listing:
        """Return the files of a version's folder; none if it does not exist.

        Raises:
            StoreError: the store cannot be reached, or refuses.
            DataLoss: a file's name leaves the folder.
        """
        try:
            root = self._files._strip_protocol(uri.text).rstrip("/")  # noqa: SLF001 - no public one
            # Without it, fsspec takes a page that cannot be read for an empty folder.
            errors = {"on_error": "raise"} if _is_web(uri) else {}
            found = self._files.find(uri.text, detail=True, **errors)
            entries = [
                (_local_name(uri, path), self._described(name, entry))
                for name, entry in found.items()
                if (path := name.removeprefix(root).lstrip("/"))
                and not path.endswith("/")
                and not (_is_web(uri) and "?" in path)  # Apache's links that sort a page
            ]
        except FileNotFoundError:
            return Listing({})
        except Exception as error:
            raise StoreError(uri, cause_of(uri, error)) from error
        return listing_of(str(uri), entries)

    def _described(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the store's description of a file; an index page of HTTP has only its name."""
        return entry if entry.get("size") is not None else self._files.info(name)

    def copy(
        self, folder: StorageUri, name: str, size: int | None, target: BinaryIO
    ) -> Iterator[int]:
        """Append the rest of a file to a local file, which may hold its beginning already.

        Failed parts are tried again, a few times.

        Args:
            folder: The version's folder.
            name: Path of the file in it, as in the listing.
            size: Its size in bytes; None if it is unknown, and then it is read whole.
            target: A file that is opened for appending.

        Yields:
            The bytes of the file so far, after each part.

        Raises:
            FetchError: the store failed, or the file is shorter or longer than it said.
        """
        uri = folder / (quote(name) if _is_web(folder) else name)
        done = target.tell()
        try:
            while size is not None and done < size:
                end = min(done + _PART_BYTES, size)
                target.write(self._tried(uri, partial(self._part, uri, done, end, size)))
                done = end
                yield done
        except _NoPartsError:
            size_known = size
        else:
            if size is not None:
                return
            size_known = None
        self._tried(uri, partial(self._copy_whole, uri, size_known, target))
        yield target.tell()

    def _part(self, uri: StorageUri, start: int, end: int, size: int) -> bytes:
        if _is_web(uri):
            part = self._part_of_web(uri, start, end, size)
        else:
            part = self._files.cat_file(uri.text, start=start, end=end)
        if len(part) != end - start:
            raise FetchError(_short(uri, start + len(part), end))
        return part

    def _part_of_web(self, uri: StorageUri, start: int, end: int, size: int) -> bytes:
        """Read a part of a file; unlike `cat_file`, this never reads more into memory.

        Raises:
            _NoPartsError: the server sends only whole files.
        """
        options = {"block_size": _PART_BYTES, "cache_type": "none", "size": size}
        with self._files.open(uri.text, "rb", **options) as file:
            file.seek(start)
            try:
                part: bytes = file.read(end - start)
            except ValueError as error:
                raise _NoPartsError from error
        return part

    def _copy_whole(self, uri: StorageUri, size: int | None, target: BinaryIO) -> None:
        target.seek(0)
        target.truncate()
        self._files.get_file(uri.text, target)
        if size not in {None, target.tell()}:
            raise FetchError(_short(uri, target.tell(), size))

    def _tried(self, uri: StorageUri, read: Any) -> Any:  # noqa: ANN401 - what `read` returns
        pause = _FIRST_PAUSE_SECONDS
        for left in reversed(range(_TRIES)):
            try:
                return read()
            except (PermissionError, DataLoss, _NoPartsError):
                raise
            except Exception as error:
                status = getattr(error, "status", None)
                if isinstance(error, FileNotFoundError) or status == 404:
                    msg = f"{uri} is gone since the folder was listed"
                    raise FetchError(msg) from error
                if not left or status in _FINAL:
                    msg = f"{uri} cannot be read: {cause_of(uri, error)}"
                    raise FetchError(msg) from error
                time.sleep(pause)
                pause *= 2
        raise AssertionError


def _is_web(uri: StorageUri) -> bool:
    return uri.scheme in {"http", "https"}


def _local_name(uri: StorageUri, path: str) -> str:
    """Return a file's name in the version's folder: the links of a page are quoted."""
    return unquote(path) if _is_web(uri) else path


def _short(uri: StorageUri, received: int, expected: int | None) -> str:
    return f"{uri}: {received:,} bytes received, {expected:,} expected"


def _options(uri: StorageUri) -> dict[str, Any]:
    """Return the time limits for the library of a scheme."""
    if uri.scheme == "s3":
        limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        return {"config_kwargs": {**limits, "retries": {"max_attempts": 2}}}
    if _is_web(uri):
        return {"get_client": _http_client}
    return {}


async def _http_client(**options: Any) -> Any:  # noqa: ANN401 - fsspec's interface
    import aiohttp  # noqa: PLC0415 - an extra

    del options["loop"]
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
    )
    return aiohttp.ClientSession(
        timeout=timeout, trust_env=True, loop=asyncio.get_running_loop(), **options
    )
