"""CPU cores that this process may use, and tuning of its memory management."""

import asyncio
import ctypes
import gc
import os
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_STATM = Path("/proc/self/statm")
_M_MMAP_THRESHOLD = -3  # glibc's malloc.h
_LARGE_BLOCK_BYTES = 512 << 10
# New objects after which Python searches for reference cycles. With the default of 700 (2,000 from
# Python 3.14 on), every batch of requests started a search, an eighth of the server's time.
_GARBAGE_COLLECTION_THRESHOLD = 20_000
_LOOK_SECONDS = 5.0
_GROWTH_BYTES = 24 << 20
_LOOKS = 5
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """Return how many whole cores this process may use.

    This is the size of its affinity mask, limited by the container's CPU quota; at least 1.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _cgroup_quota() -> float | None:
    """Return the control group's CPU quota in cores; None if there is no limit."""
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
    """Return freed memory to the operating system, which glibc's malloc does not do by itself.

    Loading a graph leaves freed copies of its weights behind: 145 MiB of 299 with ResNet50.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc; other C libraries do not need this call
        libc.malloc_trim(0)


def return_large_blocks() -> None:
    """Make glibc's malloc return large blocks to the operating system as soon as they are freed.

    By default malloc raises its threshold for such blocks when the first one is freed, and keeps
    later blocks below the new threshold: the memory of a burst of large requests would stay in the
    process.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def collect_cycles_rarely() -> None:
    """Make Python search for reference cycles less often.

    `watch_memory` starts additional searches when the memory of the process grows.
    """
    gc.set_threshold(_GARBAGE_COLLECTION_THRESHOLD, *gc.get_threshold()[1:])


async def watch_memory() -> None:
    """Free reference cycles and return freed memory when the process has grown, until cancelled.

    After growth this is repeated several times, because the objects that caused the growth may be
    released only some seconds later.
    """
    settled, looks = resident_bytes(), 0
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        settled = min(settled, resident_bytes())
        if resident_bytes() > settled + _GROWTH_BYTES:
            looks = _LOOKS
        if looks:
            looks -= 1
            gc.collect()
            await asyncio.to_thread(return_freed_memory)
            settled = resident_bytes()


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not tell."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, IndexError, ValueError):  # not Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
