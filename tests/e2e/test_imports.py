"""What may not be loaded: TensorFlow in the serving process and in the load generator."""

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys
import {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    # The folder that runs SavedModels is for TensorFlow; who imports it is the next tests' question.
    if not module.name.endswith(("__main__", ".generate")) and ".saved_models." not in module.name:
        importlib.import_module(module.name)
heavy = {{"tensorflow", "keras", "jax", "torch"}} & set(sys.modules)
sys.exit(f"{{heavy}} imported" if heavy else 0)
"""


@pytest.mark.parametrize("package", ["serving", "loadtest"])
def test_no_module_loads_tensorflow(package):
    """Neither directly nor through another library."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(package=package)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_the_server_does_without_grpc():
    """The gRPC library is the client's; the server speaks gRPC through its web server."""
    program = "import sys, serving.server; sys.exit('grpc' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert result.returncode == 0
