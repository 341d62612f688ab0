import os

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
