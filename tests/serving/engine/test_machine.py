import asyncio
import gc
import os
import threading
import weakref

import pytest

from serving.engine import machine


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", None), ("50000 100000", 1), ("150000 100000", 1)]
)
def test_cores_respect_the_containers_quota(tmp_path, monkeypatch, limit, cores):
    """A CPU quota of the control group cuts the cores down to whole ones, at least one."""
    quota = tmp_path / "cpu.max"
    quota.write_text(limit)
    monkeypatch.setattr(machine, "_CGROUP_CPU_MAX", quota)

    assert machine.available_cores() == (cores or len(os.sched_getaffinity(0)))


class Loop:
    """Holds on to itself."""

    def __init__(self):
        self.itself = self


def test_cycles_are_freed_when_memory_grows(monkeypatch):
    """Python by itself may wait for thousands of further objects."""
    sizes = iter([1 << 20, 1 << 20])
    monkeypatch.setattr(machine, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(machine, "_resident_bytes", lambda: next(sizes, 1 << 30))
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
    """A batch of requests has more objects than the usual threshold."""
    usual = gc.get_threshold()
    try:
        machine.collect_cycles_rarely()
        assert gc.get_threshold()[0] >= 10 * usual[0]
    finally:
        gc.set_threshold(*usual)
