"""The file that --save-samples names: a NumPy archive or a Parquet file, by its suffix."""

import importlib.util
import json
from pathlib import Path

from loadtest.figures.samples import Samples
from loadtest.settings.config import LoadTestError, UsageError

# The key in the metadata of a Parquet file under which the facts are, as JSON.
METADATA_KEY = "loadtest"


def check(path: Path) -> None:
    """Check before a run that its samples can be saved in a file.

    Raises:
        UsageError: The path is a folder, or the library for its form is not installed.
    """
    if path.is_dir():
        msg = f"--save-samples {path} is a folder, expected a file; name one in it"
        raise UsageError(msg)
    # The library itself is imported after the run, so that it takes no memory and time of it.
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(_without_pyarrow(path, "is not installed"))


def encode(samples: Samples, path: Path) -> memoryview:
    """Return the content of a file of samples.

    Args:
        samples: The samples.
        path: The file, which ends with one of SAMPLE_SUFFIXES.

    Raises:
        LoadTestError: The library for its form cannot be imported.
    """
    return _parquet(samples, path) if path.suffix == ".parquet" else samples.npz()


def _parquet(samples: Samples, path: Path) -> memoryview:
    """Return a Parquet file; `code` has the names, and the facts are JSON in the metadata."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise LoadTestError(_without_pyarrow(path, f"cannot be imported ({error})")) from error
    columns = {
        name: (
            pa.array(values)
            if values.ndim == 1
            else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        )
        for name, values in samples.columns.items()
    }
    columns["code"] = pa.DictionaryArray.from_arrays(columns["code"], pa.array(samples.codes))
    table = pa.table(columns, metadata={METADATA_KEY: json.dumps(samples.facts)})
    content = pa.BufferOutputStream()
    parquet.write_table(table, content, compression="zstd")
    return memoryview(content.getvalue())


def _without_pyarrow(path: Path, problem: str) -> str:
    return (
        f"--save-samples {path} needs pyarrow, which {problem}; install the extra parquet, from a "
        "checkout: pip install '.[loadtest,parquet]', or name a file that ends with .npz"
    )
