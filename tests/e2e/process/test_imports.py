"""Tests that the serving process and the load generator import no TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib, pkgutil, sys
import {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    # This folder runs SavedModels, so it may import TensorFlow.
    if not module.name.endswith(("__main__", ".generate")) and ".saved_models." not in module.name:
        importlib.import_module(module.name)
heavy = {{"tensorflow", "keras", "jax", "torch"}} & set(sys.modules)
sys.exit(f"{{heavy}} imported" if heavy else 0)
"""


@pytest.mark.parametrize("package", ["serving", "loadtest"])
def test_no_module_loads_tensorflow(package):
    """No module of the package imports TensorFlow, directly or through another library."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(package=package)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_the_server_does_not_import_grpc():
    """The default server does not import grpcio: only the client and the grpcio front do."""
    program = "import sys, serving.server; sys.exit('grpc' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert result.returncode == 0


def test_a_server_of_onnx_models_never_loads_tensorflow(models_dir):
    """A server of ONNX models loads no TensorFlow, at its start or in a Predict."""
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from running import servers
from sample_models import tiny_models
from serving.client import PredictClient
import numpy as np
folder = Path({str(models_dir)!r})
with servers.in_this_process(folder) as address, PredictClient(address) as client:
    assert client.predict("add", {{"a": np.array([1]), "b": np.array([2])}})["sum"] == [3]
    sys.exit(bool({{"tensorflow", "serving.engine.saved_models"}} & set(sys.modules)))
"""

    result = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)

    assert result.returncode == 0
