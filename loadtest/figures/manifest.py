"""The conditions of a measurement: versions, commit, processor, limits and settings."""

import os
import platform
from dataclasses import dataclass, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from training.evaluation import provenance

_PACKAGES = ("aiohttp", "grpcio", "hdrhistogram", "locust", "numpy", "onnx-serving", "protobuf")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The load generator's software and machine; unknown values are None.

    report_schema.Manifest describes the fields.
    """

    versions: dict[str, str]
    git_commit: str | None
    cpu: str | None
    cores: int | None
    cgroup_cpu_quota_cores: float | None
    machine: str
    load_average_1_min_at_start: float | None


def describe() -> Environment:
    """Return the environment of this process, with the load average of this moment."""
    # sched_getaffinity gives the cores this process may use, but Python has it on Linux only.
    affinity = getattr(os, "sched_getaffinity", None)
    load = getattr(os, "getloadavg", None)
    return Environment(
        versions={"python": platform.python_version()}
        | {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        git_commit=provenance.package_commit(__name__),
        cpu=provenance.cpu_name(),
        cores=len(affinity(0)) if affinity else os.cpu_count(),
        cgroup_cpu_quota_cores=cpu_quota(),
        machine=platform.machine(),
        # A load average above the number of cores means that other programs disturb the tails.
        load_average_1_min_at_start=round(load()[0], 2) if load else None,
    )


def settings(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return a configuration as values for JSON.

    Reports are shared, so they omit secrets, and only the last part of a path is kept.
    """
    return {
        setting.name: _plain(getattr(config, setting.name))
        for setting in fields(config)
        if not setting.metadata.get("secret")
    }


def cpu_quota(root: Path = _CGROUPS) -> float | None:
    """Return the CPU quota of the control group in cores; None if unlimited or unknown."""
    try:
        text = (root / "cpu.max").read_text(encoding="ascii")
    except OSError:
        return None
    quota, _, period = text.partition(" ")
    return None if quota == "max" else int(quota) / int(period)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plain(value: object) -> object:
    if is_dataclass(value):
        return settings(value)
    return value.name if isinstance(value, Path) else value
