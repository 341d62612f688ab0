"""The command `tensorflow_model_server` as pip installs it, for tests that start it."""

import os
import socket
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def script(folder: Path) -> str:
    """Write the command into a folder, from its entry in pyproject.toml, and return its path."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["tensorflow_model_server"].partition(":")
    file = folder / "tensorflow_model_server"
    file.write_text(
        f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\n"
        f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    file.chmod(0o755)
    return str(file)


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a server of this checkout that listens on 127.0.0.1."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "SERVING_HOST": "127.0.0.1"} | variables


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
