import importlib.metadata
import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["serving", "export", "training", "loadtest"])
def test_every_program_prints_its_version(program, tmp_path):
    """`--version` prints one line with the version of the distribution, also outside a checkout."""
    done = subprocess.run(
        [sys.executable, "-m", program, "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    version = importlib.metadata.version("onnx-serving")
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith((f"onnx-serving {version}\n", f"onnx-serving {version}, "))
    assert done.stderr == ""
