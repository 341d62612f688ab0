"""Fixtures for the tests of a matrix."""

import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def matrix_toml(tmp_path):
    """Return a function that writes a matrix file."""

    def write(text: str) -> Path:
        file = tmp_path / "matrix.toml"
        file.write_text(textwrap.dedent(text))
        return file

    return write
