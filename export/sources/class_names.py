"""Class names in a file of the user's."""

import json
from pathlib import Path

from export.errors import ExportError


def read(file: Path) -> tuple[str, ...]:
    """The names in a file: a JSON list of text, or one name a line.

    Raises:
        ExportError: it cannot be read, holds none, or one twice.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read ({error}); expected class names, one a line, in UTF-8"
        raise ExportError(msg) from error
    names = _parsed(text)
    if names is None:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        msg = f"{file} holds no name, expected class names, one a line, or a JSON list"
        raise ExportError(msg)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{file} holds {', '.join(map(repr, twice))} more than once, expected names once each"
        raise ExportError(msg)
    return tuple(names)


def _parsed(text: str) -> list[str] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return [str(name) for name in content] if isinstance(content, list) else None
