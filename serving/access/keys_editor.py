"""Changes a keys file: adds a caller, or revokes one. `python -m serving.keys` uses it."""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serving import schemas
from serving.access import keys_file
from serving.access.keys_file import CALLERS, CallerEntry
from serving.errors import ConfigError

# Programs that search texts for secrets recognize a key by these characters.
PREFIX = "onnxsk_"
_KEY_BYTES = 32


def new_key() -> str:
    """Return a new key: `PREFIX` and 32 random bytes in base64url, 50 characters together."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> list[CallerEntry]:
    """Return the entries of a file; an empty list if the file does not exist.

    Raises:
        ConfigError: the file cannot be read, or is no keys file.
    """
    return keys_file.parse(json.dumps(_document(path)), str(path))


def add(path: Path, entry: dict[str, Any]) -> None:
    """Add an entry; create the file if it does not exist.

    Args:
        path: The file.
        entry: The fields of the entry, see `keys_file`.

    Raises:
        ConfigError: the file cannot be read or written, is no keys file, or cannot have the entry.
    """
    with _changing(path) as document:
        document[CALLERS].append(entry)


def revoke(path: Path, name: str) -> None:
    """Remove the entry with a name.

    Raises:
        ConfigError: the file has no such entry, or see `add`.
    """
    with _changing(path) as document:
        left = [entry for entry in document[CALLERS] if entry["name"] != name]
        if len(left) == len(document[CALLERS]):
            names = ", ".join(entry["name"] for entry in left) or "no entry"
            msg = f"{path} has no entry {name!r}; it has {names}"
            raise ConfigError(msg)
        document[CALLERS] = left


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {CALLERS: []}
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}"
        raise ConfigError(msg) from error
    keys_file.parse(text, str(path))
    document: dict[str, Any] = json.loads(text)
    return document


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the document of a file, and write it when the block has changed it.

    The folder is locked, so that two commands do not lose each other's changes. The new file takes
    the place of the old one in one step, so that a server never reads half of it.
    """
    target = path.resolve()  # a link stays a link
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}: {target.parent}"
        raise ConfigError(msg) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        document = _document(target)
        yield document
        text = json.dumps(schemas.KEYS.stamped(document), indent=2) + "\n"
        keys_file.parse(text, str(path))
        _replace(target, text)
        os.fsync(folder)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise ConfigError(msg) from error
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    # Only the owner may read and write a file that `mkstemp` has made: mode 600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def described(entries: Sequence[CallerEntry]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield name, kind, roles, models and limits of each entry, as text."""
    for entry in entries:
        limits = {
            "requests/s": entry.limits.requests_per_second,
            "burst": entry.limits.burst,
            "in flight": entry.limits.in_flight,
        }
        told = [f"{value:g} {unit}" for unit, value in limits.items() if value is not None]
        if entry.expires is not None:
            told.append(f"expires {keys_file.as_text(entry.expires)}")
        yield (
            entry.name,
            "key" if entry.digest else "certificate",
            ",".join(sorted(entry.roles)),
            "all models" if entry.models is None else ",".join(sorted(entry.models)),
            ", ".join(told) or "no limits",
        )
