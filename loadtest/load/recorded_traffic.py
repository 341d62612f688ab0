"""Files of recorded traffic: CSV, JSON lines, and the samples of an earlier run.

`docs/traffic.md` describes the columns. The times of a file count from its first request.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.report_schema import RAW_FILE
from loadtest.settings.config import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_SECOND = 1_000_000_000
_NS_PER_US = 1000
_SUFFIXES = ".csv, .jsonl, .npz or .parquet"
_TIMES = ("time", "due_ns")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordedTraffic:
    """The requests of a file in the order of their times.

    Attributes:
        source: Name of the file, of samples with that of their folder; without the rest of the
            path, because reports are shared.
        sha256: Digest of the file.
        times_ns: int64, shape (n,), ascending, from 0: recorded times.
        models: Name of each request's model, objects of shape (n,); None if the file names none.
        batches: int64, shape (n,): images of each request; 0 if the file does not say.
        images: int64, shape (n, most images): test images of each request, -1 at unused places;
            None if the file names none.
    """

    source: str
    sha256: str
    times_ns: Integers
    models: npt.NDArray[np.object_] | None
    batches: Integers
    images: Integers | None

    def parts(self) -> list[tuple[str | None, int]]:
        """Return every pair of model and batch in the file; None and 0 where it does not say."""
        models = [None] * len(self.batches) if self.models is None else self.models.tolist()
        pairs = dict.fromkeys(zip(models, self.batches.tolist(), strict=True))
        return sorted(pairs, key=lambda pair: (pair[0] or "", pair[1]))


@dataclass(frozen=True)
class _Row:
    """One request of a text file."""

    time_ns: int
    model: str | None
    batch: int
    images: tuple[int, ...]


def read(path: Path) -> RecordedTraffic:
    """Read a file of recorded traffic.

    Args:
        path: A .csv, .jsonl, .npz or .parquet file, or the folder of an earlier run.

    Raises:
        UsageError: The file cannot be read, or a value in it is missing or wrong.
    """
    file = path / RAW_FILE if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        msg = f"cannot read recorded traffic from {file}: {error.strerror}"
        raise UsageError(msg) from error
    try:
        # All samples have the same name; their folder says of which run they are.
        name = f"{file.parent.name}/{file.name}" if file.name == RAW_FILE else file.name
        return _sorted(name, content, _parse(file.suffix, content))
    except ValueError as error:
        msg = f"{file}: {error}"
        raise UsageError(msg) from error


def _parse(suffix: str, content: bytes) -> Mapping[str, Any]:
    """Return the arrays of a file by the names of RecordedTraffic's attributes.

    Raises:
        ValueError: The content is wrong.
    """
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        return _columns(_rows((reader.line_num, row) for row in reader))
    if suffix in {".jsonl", ".ndjson"}:
        return _columns(_rows(_objects(content)))
    if suffix == ".npz":
        return _npz(content)
    if suffix == ".parquet":
        return _parquet(content)
    msg = f"recorded traffic with the suffix {suffix!r} received, expected {_SUFFIXES}"
    raise ValueError(msg)


def _sorted(name: str, content: bytes, columns: Mapping[str, Any]) -> RecordedTraffic:
    times_ns = columns["times_ns"]
    if not len(times_ns):
        msg = "it holds no requests, expected at least one"
        raise ValueError(msg)
    # Logs are in the order of the answers.
    order = np.argsort(times_ns, kind="stable")
    models, images = columns.get("models"), columns.get("images")
    return RecordedTraffic(
        source=name,
        sha256=hashlib.sha256(content).hexdigest(),
        times_ns=times_ns[order] - times_ns[order[0]],
        models=None if models is None else models[order],
        batches=columns["batches"][order],
        images=None if images is None else images[order],
    )


def _objects(content: bytes) -> Iterable[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"line {number} is no JSON object: {error}"
                raise ValueError(msg) from error


def _rows(lines: Iterable[tuple[int, Mapping[str, Any]]]) -> list[_Row]:
    rows = []
    for number, line in lines:
        try:
            rows.append(_row(line))
        except ValueError as error:
            msg = f"line {number}: {error}"
            raise ValueError(msg) from error
    return rows


def _row(line: Mapping[str, Any]) -> _Row:
    name = next((name for name in _TIMES if line.get(name) not in {None, ""}), None)
    if name is None:
        msg = (
            f"columns {', '.join(map(str, line)) or 'none'} received, expected a column time "
            "(seconds, or ISO 8601) or due_ns (nanoseconds)"
        )
        raise ValueError(msg)
    time_ns = _number(line[name], name) if name == "due_ns" else _time_ns(line[name])
    model = line.get("model") or None
    if model is not None and not isinstance(model, str):
        msg = f"model {model!r} received, expected a name"
        raise ValueError(msg)
    images = _images(line.get("images"))
    batch = 0 if line.get("batch") in {None, ""} else _number(line["batch"], "batch")
    if batch < 0 or (images and batch not in {0, len(images)}):
        msg = f"batch {batch} with {len(images)} images received, expected the number of images"
        raise ValueError(msg)
    return _Row(time_ns, model, batch or len(images), images)


def _time_ns(value: object) -> int:
    """Return a time in seconds, or in ISO 8601, in nanoseconds; without a time zone it is UTC."""
    text = str(value)
    try:
        seconds = Decimal(text)
        if seconds.is_finite():
            return int((seconds * _NS_PER_SECOND).to_integral_value())
    except InvalidOperation:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = f"time {text!r} received, expected seconds or a time in ISO 8601"
        raise ValueError(msg) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * _NS_PER_US


def _images(value: object) -> tuple[int, ...]:
    """Return the images of a list, a number, or a text of numbers between spaces."""
    if value is None:
        return ()
    parts: Sequence[object] = (
        value if isinstance(value, list) else value.split() if isinstance(value, str) else [value]
    )
    images = tuple(_number(part, "images") for part in parts)
    if any(image < 0 for image in images):
        msg = f"images {value!r} received, expected numbers of 0 or more"
        raise ValueError(msg)
    return images


def _number(value: object, name: str) -> int:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    msg = f"{name} {value!r} received, expected a whole number"
    raise ValueError(msg)


def _columns(rows: Sequence[_Row]) -> Mapping[str, Any]:
    """Return the arrays of rows."""
    for what, known in (
        ("a model", [row.model is not None for row in rows]),
        ("a batch", [row.batch > 0 for row in rows]),
        ("images", [bool(row.images) for row in rows]),
    ):
        if any(known) and not all(known):
            msg = (
                f"{known.count(False):,} of {len(known):,} requests lack {what}, expected it in "
                "all or in none"
            )
            raise ValueError(msg)
    widest = max((len(row.images) for row in rows), default=0)
    images = np.full((len(rows), widest), -1, np.int64)
    for number, row in enumerate(rows):
        images[number, : len(row.images)] = row.images
    named = any(row.model is not None for row in rows)
    return {
        "times_ns": np.array([row.time_ns for row in rows], np.int64),
        "models": np.array([row.model for row in rows], np.object_) if named else None,
        "batches": np.array([row.batch for row in rows], np.int64),
        "images": images if widest else None,
    }


def _npz(content: bytes) -> Mapping[str, Any]:
    """Return the times and images of the samples of a run."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            due_ns, images = archive["due_ns"], archive["image_ids"]
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        # NumPy's own message for a file that is no archive recommends to load it unsafely.
        msg = "it holds no samples of a load test, expected the arrays due_ns and image_ids"
        raise ValueError(msg) from error
    return _samples(due_ns, images)


def _parquet(content: bytes) -> Mapping[str, Any]:
    """Return the same of a Parquet file; its lists of images have a fixed length."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        msg = "a .parquet file needs pyarrow, which is not installed; use the .npz file of the run"
        raise ValueError(msg) from error
    try:
        table = parquet.read_table(pa.BufferReader(content), columns=["due_ns", "image_ids"])
        due_ns, lists = table["due_ns"].to_numpy(), table["image_ids"].combine_chunks()
        images = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(due_ns), -1)
    except (pa.ArrowException, KeyError, AttributeError) as error:
        msg = f"it holds no samples of a load test: {error}"
        raise ValueError(msg) from error
    return _samples(due_ns, images)


def _samples(due_ns: npt.NDArray[Any], images: npt.NDArray[Any]) -> Mapping[str, Any]:
    if images.ndim != 2 or due_ns.shape != images.shape[:1]:
        msg = f"due_ns {due_ns.shape} and image_ids {images.shape} do not match"
        raise ValueError(msg)
    return {
        "times_ns": due_ns.astype(np.int64),
        # The last query of a pass may be shorter; its unused places stay unused.
        "batches": np.full(len(due_ns), images.shape[1], np.int64),
        "images": images.astype(np.int64),
    }
