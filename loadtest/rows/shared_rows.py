"""Rows that one process has read and others map: the generators of a run have one copy of them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.rows.dataset import Array, Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput


@dataclass(frozen=True, kw_only=True)
class SharedRows:
    """The inputs of a data set for another process; it can be pickled.

    Attributes:
        inputs: The inputs of the model.
        rows: Number of rows.
        files: Files in NumPy's format, by the name of the input.
        texts: The arrays of texts, which no file can be mapped as, by the name of the input.
    """

    inputs: tuple[ModelInput, ...]
    rows: int
    files: Mapping[str, Path]
    texts: Mapping[str, Array]

    def dataset(self) -> Dataset:
        """Return the rows, read-only, without labels and recorded answers."""
        mapped = {
            # As a plain array: rows that are taken from it are copies in memory.
            name: np.asarray(np.load(file, mmap_mode="r"))
            for name, file in self.files.items()
        }
        return Dataset(inputs=self.inputs, arrays={**mapped, **self.texts}, rows=self.rows)


@contextlib.contextmanager
def shared(dataset: Dataset) -> Iterator[SharedRows]:
    """Write the inputs of a data set to temporary files; they are gone afterwards.

    On Linux the files have no names, so that nothing is left if this process is killed.

    Raises:
        UsageError: A file cannot be written.
    """
    texts = {name: array for name, array in dataset.arrays.items() if array.dtype.kind == "O"}
    files: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        try:
            for name in dataset.arrays.keys() - texts.keys():
                files[name] = stack.enter_context(_file(dataset.arrays[name]))
        except OSError as error:
            msg = (
                f"the rows of --processes cannot be written to {tempfile.gettempdir()} "
                f"({error.strerror or error}); free {_mebibytes(dataset)} MiB there, set TMPDIR to "
                "another folder, or leave --processes out"
            )
            raise UsageError(msg) from error
        yield SharedRows(inputs=dataset.inputs, rows=len(dataset), files=files, texts=texts)


@contextlib.contextmanager
def _file(array: Array) -> Iterator[Path]:
    """Write an array to a temporary file in NumPy's format; yield a path for other processes."""
    nameless = Path("/proc/self/fd").is_dir()
    make = tempfile.TemporaryFile if nameless else tempfile.NamedTemporaryFile
    with make(prefix="loadtest-rows-", suffix=".npy") as file:
        np.save(file, array)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}" if nameless else file.name)


def _mebibytes(dataset: Dataset) -> int:
    return -(-sum(array.nbytes for array in dataset.arrays.values()) // 2**20)
