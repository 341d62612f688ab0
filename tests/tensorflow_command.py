"""The command `tensorflow_model_server`, as pip would install it, for tests that start it."""

import os
import socket
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def script(folder: Path) -> str:
    """Write the command into a folder, from the package's own entry, and give its path."""
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
    """Of a process that imports this checkout's packages and listens on the loopback."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "SERVING_HOST": "127.0.0.1"} | variables


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
