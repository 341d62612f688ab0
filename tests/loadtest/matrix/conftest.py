"""What the tests of a matrix share."""

import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def matrix_toml(tmp_path):
    """Writes a matrix file."""

    def write(text: str) -> Path:
        file = tmp_path / "matrix.toml"
        file.write_text(textwrap.dedent(text))
        return file

    return write
