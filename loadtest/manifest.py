"""What a figure was measured with and from: versions, commit, processor."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("gevent", "grpcio", "locust", "numpy", "protobuf")


def describe() -> dict[str, Any]:
    """Versions and hardware of the load generator, ready for JSON; None where unknown."""
    # The cores this process may use, not the host's; Python has the call on Linux alone.
    affinity = getattr(os, "sched_getaffinity", None)
    load = getattr(os, "getloadavg", None)
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "git_commit": git_commit(),
        "cpu": _cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "machine": platform.machine(),
        # Above the number of cores, something else is running too and tails mean little.
        "load_average_1_min_at_start": round(load()[0], 2) if load else None,
    }


def git_commit() -> str | None:
    """Commit this package was read from, with "-dirty" if files of it were changed since."""
    folder = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "."))
        )
    except (OSError, subprocess.SubprocessError):
        return None  # an installed package, or no git
    return f"{commit}-dirty" if changes else commit


def _cpu_name() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)
