"""The worker processes of a server under test, and their connections."""

import re
import time
from pathlib import Path

_ESTABLISHED = "01"


def workers_of(server) -> list[int]:
    """Return the process ids of the workers that run now."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def sockets(port: int) -> set[str]:
    """Return the inodes of the established TCP connections on a local port."""
    tables = [Path("/proc/net") / table for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    return {
        row[9]
        for row in rows
        if int(row[1].rpartition(":")[2], 16) == port and row[3] == _ESTABLISHED
    }


def connections(pid: int, port: int) -> int:
    """Return how many connections to a port a process has."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
        except FileNotFoundError:
            continue
    return len(inodes & sockets(port))


def wait_until(condition) -> bool:
    """Return whether a condition becomes true within 30 seconds."""
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.05)
    return False
