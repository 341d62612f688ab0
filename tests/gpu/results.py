"""Results of the steps: one JSON file a step, rewritten after every row.

A step that is ended by its time limit leaves the rows so far, with `complete` false. `merge` puts
the files of one or several machines into `docs/results/gpu.json`, from which `docs/gpu.py` writes
the page.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu import machine

SCHEMA_VERSION = 1
_ON_CPU = "export"  # always runs there
# The results of a step, and the order of their sections in gpu.json and on the page.
STEPS = ("check", "raw", "server", "simcnn", "resnet50", "export")


class ResultsError(ValueError):
    """A file of results is missing or has another schema."""


class Results:
    """The results of one step, which are on disk after every row."""

    def __init__(self, step: str, folder: Path, *, device: str, commit: str | None = None) -> None:
        """Begin the results.

        Args:
            step: Name of the step, one of `STEPS`.
            folder: Folder for `<step>.json`; created if it is missing.
            device: cuda or cpu.
            commit: Commit of the checkout, where git cannot tell it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{step}.json"
        self._document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "step": step,
            "device": device,
            "date": datetime.now(UTC).date().isoformat(),
            **machine.describe(commit),
            "complete": False,
            "rows": [],
        }
        self._write()

    @property
    def ok(self) -> bool:
        """Whether no row reports a failed check or an error."""
        rows = self._document["rows"]
        return all(row.get("ok", True) and "error" not in row for row in rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, print it, and write the file."""
        self._document["rows"].append(dict(row))
        print(json.dumps(row), flush=True)
        self._write()

    def finish(self) -> None:
        """Record that the step came to its end."""
        self._document["complete"] = True
        self._write()

    def _write(self) -> None:
        write_json(self._file, self._document)


def reason(error: BaseException) -> str:
    """Return the first line of an error's message with its type, at most 300 characters."""
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0]}"[:300]


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write indented JSON; a reader sees the old or the new content, never a part."""
    partial = file.with_name(f".{file.name}")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def read(file: Path) -> dict[str, Any]:
    """Read the results of a step, or `gpu.json`.

    Raises:
        ResultsError: the file is missing, no JSON, or of another schema version.
    """
    try:
        document = read_json(file)
        version = document["schema_version"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        msg = f"{file} is no file of results ({error!r}); expected one that a step has written"
        raise ResultsError(msg) from error
    if version != SCHEMA_VERSION:
        msg = f"{file} has schema version {version}, expected {SCHEMA_VERSION}: run its step again"
        raise ResultsError(msg)
    return document


def merge(folder: Path, target: Path, *, rehearsal: bool = False) -> list[str]:
    """Put the results in a folder into `gpu.json`; newer results of a step replace older ones.

    Args:
        folder: Folder with `<step>.json` files, in any subfolders.
        target: The file `gpu.json`; created if it is missing.
        rehearsal: Accept results of a CPU, which say nothing about a GPU.

    Returns:
        Names of the merged steps.

    Raises:
        ResultsError: there are no results, two files are about the same step, or one is unreadable
            or was measured on a CPU.
    """
    found: dict[str, dict[str, Any]] = {}
    for step in STEPS:
        files = sorted(folder.rglob(f"{step}.json"))
        if len(files) > 1:
            msg = f"{step} has several results: {', '.join(map(str, files))}; pass one folder"
            raise ResultsError(msg)
        if files:
            found[step] = read(files[0])
    if not found:
        msg = f"{folder} has no results; expected {', '.join(f'{step}.json' for step in STEPS)}"
        raise ResultsError(msg)
    for step, document in found.items():
        if document["device"] != "cuda" and step != _ON_CPU and not rehearsal:
            msg = f"{step}.json was measured on {document['device']}, expected cuda: a rehearsal"
            raise ResultsError(msg)
    steps = read(target)["steps"] if target.exists() else {}
    steps |= found
    ordered = {step: steps[step] for step in STEPS if step in steps}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, {"schema_version": SCHEMA_VERSION, "steps": ordered})
    return list(found)
