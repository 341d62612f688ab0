"""The children of this process that read and write JSON, and jobs large enough for them."""

import time
from pathlib import Path

from serving.protocols.json_process import LARGE_BYTES

LARGE = LARGE_BYTES + 1


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone; fail after 20 s."""
    until = time.monotonic() + 20
    while time.monotonic() < until and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children() -> list[int]:
    """Return the ids of this process's JSON children."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"json_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
