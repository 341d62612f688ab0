"""What a figure was measured with and from: versions, commit, processor."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from training import provenance

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
        "git_commit": provenance.git_commit(Path(__file__).parent),
        "cpu": provenance.cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "machine": platform.machine(),
        # Above the number of cores, something else is running too and tails mean little.
        "load_average_1_min_at_start": round(load()[0], 2) if load else None,
    }
