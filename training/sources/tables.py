"""Tables of pictures: CSV, TSV, Parquet or JSON lines with a path and a class in each row."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from training.data.cifar10 import DataError
from training.sources.listing import PART_NAMES, Labelled, Listing, PictureFile, listed

VARIANT = "picture-table"
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Names of a table beside the pictures. `metadata` is that of Hugging Face's image folders.
_STEMS = ("metadata", "labels")
_PATHS = ("path", "file_name", "filename", "file", "image")
_CLASSES = ("label", "class", "category", "target")
_PARTS = ("split", "part", "subset")


def beside(folder: Path) -> Path | None:
    """Return the table in a folder, such as labels.csv; None without one."""
    names = [f"{stem}{ending}" for stem in _STEMS for ending in ENDINGS]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def find(file: Path, split_seed: int = 0) -> Listing:
    """List the pictures of a table; paths are relative to the folder of the table.

    For `split_seed` see listing.listed.

    Raises:
        DataError: The table cannot be read, or lacks a column, a class or a known part.
    """
    rows = []
    for number, row in _rows(file):
        where = f"{file}, row {number}"
        path = _text(row, _PATHS, where)
        part = _text(row, _PARTS, where, default="train")
        if part.lower() not in PART_NAMES:
            msg = f"{where}: split {part!r}, expected one of {', '.join(PART_NAMES)}"
            raise DataError(msg)
        rows.append((path, _text(row, _CLASSES, where), PART_NAMES[part.lower()]))
    names = sorted({name for _, name, _ in rows})
    labels = {name: label for label, name in enumerate(names)}
    return listed(
        VARIANT,
        names,
        [
            Labelled(PictureFile(file.parent / path, path), labels[name], part)
            for path, name, part in rows
        ],
        origin=file,
        split_seed=split_seed,
    )


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        yield from enumerate(_READERS[file.suffix.lower()](file), 1)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        msg = f"{file} cannot be read as a table ({error}); expected UTF-8 with a path and a class"
        raise DataError(msg) from error


def _read_csv(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(newline="", encoding="utf-8-sig") as text:
        yield from csv.DictReader(text, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")


def _read_lines(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8-sig") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                msg = f"{file}, line {number}: {type(row).__name__} received, expected an object"
                raise DataError(msg)
            yield row


def _read_parquet(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        from pyarrow import parquet  # noqa: PLC0415  see the folder's docstring
    except ImportError:
        msg = f"reading {file} needs PyArrow; install the extra parquet, or pass a CSV file"
        raise DataError(msg) from None
    # Errors of Arrow are ValueErrors or OSErrors.
    wanted = {*_PATHS, *_CLASSES, *_PARTS}
    table = parquet.ParquetFile(file)
    columns = [name for name in table.schema_arrow.names if name.lower() in wanted]
    rows: list[Mapping[str, Any]] = table.read(columns).to_pylist()
    return rows


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".parquet": _read_parquet,
}


def _text(
    row: Mapping[str, Any], names: Iterable[str], where: str, *, default: str | None = None
) -> str:
    """Return the value of a row's column; a table has it under one of several names."""
    values = {str(name).strip().lower(): value for name, value in row.items()}
    column = next((name for name in names if name in values), None)
    value = values.get(column) if column else default
    if value is None or not str(value).strip():
        found = ", ".join(map(repr, values)) or "none"
        msg = (
            f"{where} has no {' or '.join(names)} (its columns: {found}); "
            "name the columns path and label, and optionally split"
        )
        raise DataError(msg)
    return str(value).strip()
