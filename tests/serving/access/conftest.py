"""Fixtures of the access tests: a file with the keys of several callers."""

from pathlib import Path

import keys_files
import pytest
from keys_files import entry


@pytest.fixture
def keys_file(tmp_path) -> Path:
    """A keys file in which `a` may use the model identity, and `b` the model add."""
    return keys_files.write(
        tmp_path / "keys.json",
        entry("a", "predict", "metadata", models=["identity"]),
        entry("b", "predict", models=["add"]),
        entry("all", "predict", "metadata", "metrics", "admin"),
        entry("slow", "predict", requests_per_second=0.01),
        entry("single", "predict", in_flight=1),
    )
