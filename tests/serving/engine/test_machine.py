import asyncio
import gc
import os
import re
import threading
import weakref
from pathlib import Path

import pytest

from serving.engine import machine


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", None), ("50000 100000", 1), ("150000 100000", 1)]
)
def test_cores_respect_the_containers_quota(tmp_path, monkeypatch, limit, cores):
    """A control group's CPU quota rounds the core count down to a whole number, at least one."""
    quota = tmp_path / "cpu.max"
    quota.write_text(limit)
    monkeypatch.setattr(machine, "_CGROUP_CPU_MAX", quota)

    assert machine.available_cores() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("0", 1), ("100000", 2), ("20000", 1)])
def test_cores_respect_the_quota_of_old_control_groups(tmp_path, monkeypatch, quota, cores):
    """Version 1 has two files, and -1 for no limit."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    files = {"_CGROUP_V1_QUOTA": quota, "_CGROUP_V1_PERIOD": "50000\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(machine, name, tmp_path / name)
    monkeypatch.setattr(machine, "_CGROUP_CPU_MAX", tmp_path / "none")

    assert machine.available_cores() == (cores or 8)


@pytest.mark.parametrize("content", ["many 100000", "1 0", "1"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path, monkeypatch, content):
    """Then the affinity counts alone."""
    file = tmp_path / "cpu.max"
    file.write_text(content)
    monkeypatch.setattr(machine, "_CGROUP_CPU_MAX", file)

    assert machine.available_cores() == len(os.sched_getaffinity(0))


def test_resident_memory_is_what_linux_counts(tmp_path, monkeypatch):
    """The second number of statm, in pages; 0 where there is no such file."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)

    assert machine.resident_bytes() == pytest.approx(1024 * int(kilobytes), rel=0.2)

    monkeypatch.setattr(machine, "_STATM", tmp_path / "none")
    assert machine.resident_bytes() == 0


class Loop:
    """An object that refers to itself: only the cycle collector frees it."""

    def __init__(self):
        self.itself = self


def test_cycles_are_freed_when_memory_grows(monkeypatch):
    """When resident memory grows, `watch_memory` collects cycles at once.

    Python alone may wait for thousands of further objects.
    """
    sizes = iter([1 << 20, 1 << 20])
    monkeypatch.setattr(machine, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(machine, "resident_bytes", lambda: next(sizes, 1 << 30))
    loop = Loop()
    freed = threading.Event()
    weakref.finalize(loop, freed.set)
    del loop

    async def watch() -> None:
        watching = asyncio.create_task(machine.watch_memory())
        await asyncio.to_thread(freed.wait, 5)
        watching.cancel()

    gc.disable()
    try:
        asyncio.run(watch())
    finally:
        gc.enable()

    assert freed.is_set()


def test_python_looks_for_cycles_less_often():
    """The collector's threshold is at least ten times the default, which one batch exceeds."""
    usual = gc.get_threshold()
    try:
        machine.collect_cycles_rarely()
        assert gc.get_threshold()[0] >= 10 * usual[0]
    finally:
        gc.set_threshold(*usual)
