"""The machine that results were measured on: GPU, driver, processor, versions, commit."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from training.evaluation import provenance

ROOT = Path(__file__).parents[2]
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "jax", "keras", "numpy", "grpcio")


def describe(commit: str | None = None) -> dict[str, Any]:
    """Return `machine`, `versions` and `commit` for a file of results; unknown values are None.

    Args:
        commit: The commit, where the checkout's git history is missing.
    """
    return {
        "machine": {
            **gpu(),
            "cpu": provenance.cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": commit or provenance.git_commit(ROOT),
    }


def gpu() -> dict[str, str | None]:
    """Return the name of the first GPU and the version of its driver, as nvidia-smi tells them."""
    fields = ("gpu", "driver")
    if not shutil.which("nvidia-smi"):
        return dict.fromkeys(fields)
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    values = [value.strip() for value in lines[0].split(",")] if lines else []
    return dict(zip(fields, values, strict=True)) if len(values) == 2 else dict.fromkeys(fields)


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
