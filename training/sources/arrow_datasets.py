"""Data sets of Hugging Face on a disk: what `save_to_disk` writes, and repositories of Parquet.

    DIR/dataset_dict.json, DIR/train/{dataset_info.json, state.json, data-00000-of-00001.arrow}, ...
    DIR/dataset_info.json, DIR/state.json, DIR/data-00000-of-00001.arrow      a single split
    DIR/data/train-00000-of-00001.parquet, ...                               a repository

A picture is a struct of `bytes` and `path`, and a class is an integer whose names are in the
features of dataset_info.json or of the Parquet file's metadata (`datasets`' ClassLabel).
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.cifar10 import DataError
from training.sources.listing import (
    PART_NAMES,
    Labelled,
    Listing,
    Part,
    PictureFile,
    SourcePicture,
    listed,
)

VARIANT = "picture-datasets"
_METADATA_KEY = b"huggingface"


@dataclass(frozen=True)
class PictureRow:
    """A picture in a row of an Arrow or Parquet file.

    Attributes:
        file: The file.
        column: Name of the column of pictures.
        row: Number of the row.
        name: See SourcePicture.
        version: See SourcePicture.
    """

    file: Path
    column: str
    row: int
    name: str
    version: str

    def content(self) -> bytes:
        """See SourcePicture."""
        value = _open(self.file).column(self.column)[self.row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            msg = f"{self.name} has no bytes"
            raise OSError(msg)
        return content


def find(folder: Path, split_seed: int = 0) -> Listing | None:
    """List the pictures of a data set; None if the folder holds none of the three layouts.

    For `split_seed` see listing.listed.

    Raises:
        DataError: A file cannot be read, or the columns of pictures and classes are not known.
    """
    files = list(_files(folder))
    if not files:
        return None
    rows: list[Labelled] = []
    names: tuple[str, ...] = ()
    for part, file in files:
        try:
            table = _open(file)
        except (OSError, ValueError) as error:
            msg = f"{file} cannot be read as a table of Arrow ({error}); save the data set again"
            raise DataError(msg) from error
        features = _features(file, table)
        picture, label = _column(features, "Image", file), _column(features, "ClassLabel", file)
        names = names or tuple(features[label]["names"])
        version = PictureFile(file, file.name).version
        for row, value in enumerate(table.column(label).to_pylist()):
            if value is None or not 0 <= value < len(names):
                msg = f"{file}, row {row}: label {value}, expected 0 to {len(names) - 1}"
                raise DataError(msg)
            name = f"{file.relative_to(folder).as_posix()}#{row:07d}"
            each: SourcePicture = PictureRow(file, picture, row, name, version)
            rows.append(Labelled(each, value, part))
    return listed(VARIANT, names, rows, origin=folder, split_seed=split_seed)


def _files(folder: Path) -> Iterator[tuple[Part, Path]]:
    if (folder / "dataset_dict.json").is_file():
        for each in sorted(path for path in folder.iterdir() if path.is_dir()):
            if part := PART_NAMES.get(each.name.lower()):
                yield from ((part, file) for file in _arrow_files(each))
    elif (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        yield from (("train", file) for file in _arrow_files(folder))
    else:
        root = folder / "data" if (folder / "data").is_dir() else folder
        for file in sorted(root.glob("*-*-of-*.parquet")):
            if part := PART_NAMES.get(file.name.partition("-")[0].lower()):
                yield part, file


def _arrow_files(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return [folder / entry["filename"] for entry in state["_data_files"]]


@functools.cache
def _open(file: Path) -> Any:  # noqa: ANN401  a table of PyArrow, which is imported late
    """Return a file as a table; that of an Arrow file stays on the disk until it is read."""
    try:
        import pyarrow as pa  # noqa: PLC0415  see the folder's docstring
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        msg = f"reading {file} needs PyArrow; install the extra parquet"
        raise DataError(msg) from None
    if file.suffix == ".parquet":
        return parquet.read_table(file, memory_map=True)
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def _features(file: Path, table: Any) -> Mapping[str, Any]:  # noqa: ANN401  see _open
    """Return the features by column: of the file's metadata, or else of dataset_info.json."""
    metadata = (table.schema.metadata or {}).get(_METADATA_KEY)
    beside = file.parent / "dataset_info.json"
    if metadata is not None:
        features = json.loads(metadata)["info"]["features"]
    elif beside.is_file():
        features = json.loads(beside.read_text(encoding="utf-8"))["features"]
    else:
        features = {}
    return dict(features)


def _column(features: Mapping[str, Any], kind: str, file: Path) -> str:
    found = [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]
    if len(found) != 1:
        columns: Sequence[str] = [*features]
        msg = (
            f"{file} has {len(found)} columns of the feature {kind} (columns: "
            f"{', '.join(columns) or 'unknown'}), expected one; cast the columns with the library "
            "datasets, and save the data set again"
        )
        raise DataError(msg)
    return found[0]
