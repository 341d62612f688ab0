"""Keys files for tests."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.access import keys_editor


def key_of(name: str) -> str:
    """Return the key of a caller; the same one for each call."""
    return f"{keys_editor.PREFIX}{name * 8}"


def entry(name: str, *roles: str, **fields: object) -> dict[str, Any]:
    """Return an entry with the caller's key, or with the `subject` among the fields."""
    known = {} if "subject" in fields else {"sha256": keys_editor.digest_of(key_of(name))}
    return {"name": name, "roles": list(roles), **known, **fields}


def write(path: Path, *entries: Mapping[str, Any]) -> Path:
    """Write a keys file in one step, as the command does; return its path."""
    return replace(path, json.dumps({"callers": entries}))


def replace(path: Path, text: str) -> Path:
    """Write a text in one step, so that no server reads half of it; return the path."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)
    return path


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata with which a caller sends its key."""
    return (("authorization", f"Bearer {key_of(name)}"),)


def wait_until(happened: Any, seconds: float = 30) -> None:
    """Wait until a function returns something true.

    Raises:
        TimeoutError: it did not in time.
    """
    ends = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > ends:
            msg = f"it did not happen within {seconds} s"
            raise TimeoutError(msg)
        time.sleep(0.05)
