import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from loadtest.figures import sample_file
from loadtest.figures.samples import Samples
from loadtest.settings.config import LoadTestError, UsageError


@pytest.fixture
def samples() -> Samples:
    """Two requests of two images, the second of which failed."""
    return Samples(
        columns={
            "request": np.array([0, 1]),
            "code": np.array([0, 2], np.int16),
            "answers": np.array([[3, 4], [-1, -1]]),
            "server_total_ms": np.array([1.5, np.nan]),
        },
        codes=("OK", "MISSED", "UNAVAILABLE"),
        facts={"schema_version": 2, "loop": "open", "slo_ms": None, "percentile": 99.0},
    )


@pytest.fixture
def without_pyarrow(monkeypatch):
    """Python takes a module that is None for one that is not installed."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)


def test_a_folder_is_refused(tmp_path):
    """A folder in place of the file raises UsageError; a file need not exist."""
    sample_file.check(tmp_path / "samples.npz")

    with pytest.raises(UsageError, match="is a folder, expected a file"):
        sample_file.check(tmp_path)


@pytest.mark.usefixtures("without_pyarrow")
def test_parquet_without_its_library_is_refused(samples, tmp_path):
    """Before a run and after it, the error names the extra; an archive needs no library."""
    file = tmp_path / "samples.parquet"

    sample_file.check(file.with_suffix(".npz"))
    for refuse, reason in (
        (lambda: sample_file.check(file), "which is not installed; install the extra parquet"),
        (lambda: sample_file.encode(samples, file), "which cannot be imported (import of pyarrow"),
    ):
        with pytest.raises(LoadTestError) as refused:
            refuse()
        assert str(refused.value).startswith(f"--save-samples {file} needs pyarrow, {reason}")
        assert str(refused.value).endswith(", or name a file that ends with .npz")


def test_an_archive_is_that_of_the_samples(samples):
    """A file that ends with .npz has the content of raw.npz."""
    with np.load(io.BytesIO(sample_file.encode(samples, Path("a.npz")))) as archive:
        assert archive["codes"][archive["code"]].tolist() == ["OK", "UNAVAILABLE"]


def test_parquet_has_columns_and_facts(samples, tmp_path):
    """Codes are texts, images lists of a fixed size, and facts JSON in the metadata."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    file = tmp_path / "samples.parquet"

    file.write_bytes(sample_file.encode(samples, file))

    table = parquet.read_table(file)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    np.testing.assert_equal(
        columns,
        {
            "request": [0, 1],
            "code": ["OK", "UNAVAILABLE"],
            "answers": [[3, 4], [-1, -1]],
            "server_total_ms": [1.5, np.nan],
        },
    )
    assert json.loads(table.schema.metadata[b"loadtest"]) == samples.facts
    assert str(table.schema.field("answers").type) == "fixed_size_list<element: int64>[2]"
