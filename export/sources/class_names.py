"""Reads class names from a file that the user passes."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from export.errors import ExportError
from serving.tensors.signature import Signature


def read(file: Path) -> tuple[str, ...]:
    """Read class names from a file: a JSON list, or one name a line.

    Raises:
        ExportError: the file cannot be read, has no name, or has a name twice.
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
        msg = f"{file} holds {', '.join(map(repr, twice))} more than once, expected each name once"
        raise ExportError(msg)
    return tuple(names)


def check(names: Sequence[str], signatures: Iterable[Signature]) -> None:
    """Check that an output has as many columns as there are names.

    Raises:
        ExportError: there are names and outputs with a known number of columns, and none of these
            outputs has as many columns as there are names.
    """
    widths = {
        alias: spec.shape[-1]
        for signature in signatures
        for alias, spec in signature.outputs.items()
        if spec.shape is not None and len(spec.shape) > 1 and spec.shape[-1] != -1
    }
    if names and widths and len(names) not in widths.values():
        found = ", ".join(f"{alias} {width}" for alias, width in widths.items())
        msg = (
            f"{len(names)} class names received, expected one for each column of an output "
            f"(columns by output: {found}); pass a file with as many names as --class-names"
        )
        raise ExportError(msg)


def _parsed(text: str) -> list[str] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return [str(name) for name in content] if isinstance(content, list) else None
