"""The machine as this process may use it: its cores and its memory."""

import ctypes
import os
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """Whole cores this process may use: its affinity mask, cut by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _cgroup_quota() -> float | None:
    """Cores' worth of CPU time that the control group allows, None if it sets no limit."""
    try:
        if _CGROUP_CPU_MAX.exists():
            quota, period = _CGROUP_CPU_MAX.read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        if _CGROUP_V1_QUOTA.exists():
            microseconds = int(_CGROUP_V1_QUOTA.read_text())
            return None if microseconds < 0 else microseconds / int(_CGROUP_V1_PERIOD.read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return None


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, which glibc's malloc does not do by itself.

    Loading a graph leaves freed copies of its weights behind: 145 MiB of 299 with ResNet50.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc; other C libraries have no need of it
        libc.malloc_trim(0)
