"""The processes of a row: the server and its memory, pinned to one core, and the polite callers."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from abuse import polite
from abuse.rows import Row
from running import servers

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, ATTACKER_CORE = CORES[0], CORES[-1]
# The server's settings.
LAME_DUCK_SECONDS = 1.0
DRAIN_SECONDS = 5.0

# The suite's own limits.
ROW_SECONDS = 150.0
MAX_SERVER_MB = 2500.0  # the suite kills a server that takes more memory
_SAMPLE_SECONDS = 0.05


def processes_of(pid: int) -> list[int]:
    """Return a process and all its descendants, from /proc."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found.extend(map(int, children.split()))
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants in MB."""
    pages = 0
    for process in processes_of(pid):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class MemoryWatch:
    """Samples the server's memory in a thread, and kills a server that takes too much.

    It also kills the server when the row takes too long.

    Attributes:
        most_mb: The largest sample; set it to begin a new measurement.
        kill_reason: The reason for which the server was killed; empty if it was not.
    """

    def __init__(self, pid: int) -> None:
        self.most_mb = 0.0
        self.kill_reason = ""
        self._pid = pid
        self._stopping = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            now_mb = memory_mb(self._pid)
            self.most_mb = max(self.most_mb, now_mb)
            if now_mb > MAX_SERVER_MB:
                self._end(f"it took {now_mb:.0f} MB of memory")
            if time.monotonic() - self._began > ROW_SECONDS:
                self._end(f"the row took {ROW_SECONDS:.0f} s")

    def _end(self, reason: str) -> None:
        self.kill_reason = self.kill_reason or reason
        for pid in processes_of(self._pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop sampling."""
        self._stopping.set()
        self._thread.join()


def pinned(core: int, *command: str, nice: int = 0) -> list[str]:
    return ["taskset", "-c", str(core), "nice", "-n", str(nice), *command]


def helper_environment() -> dict[str, str]:
    """Return the environment of attackers and callers, which import modules from tests/."""
    return os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{ROOT}", "GRPC_VERBOSITY": "NONE"}


@contextlib.contextmanager
def started_server(row: Row, models_dir: Path) -> Iterator[servers.ServerProcess]:
    """Start the row's server on one core, with its limit on open files; kill it at the end."""
    limit = () if row.soft_files is None else ("prlimit", f"--nofile={row.soft_files}:")
    command = [
        *pinned(SERVER_CORE, *limit, sys.executable, "-m", "serving"),
        *("--models_dir", str(models_dir), "--host", "127.0.0.1", "--port", "0"),
        *(f"--lame_duck_seconds={LAME_DUCK_SECONDS}", f"--drain_seconds={DRAIN_SECONDS}"),
        *row.flags,
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="surrogateescape"
    )
    server = servers.ServerProcess(process)
    try:
        yield server
    finally:
        for pid in processes_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(servers.STOP_SECONDS)
        server.read_to_end()
        assert process.stderr is not None
        process.stderr.close()


class PoliteCallers:
    """The process of the polite callers, and access to their records."""

    def __init__(self, target: str, file: Path) -> None:
        self._file = file
        self._process = subprocess.Popen(
            pinned(ATTACKER_CORE, sys.executable, "-m", "abuse.polite", target, str(file)),
            stdin=subprocess.PIPE,
            env=helper_environment(),
        )

    def records(self) -> list[dict]:
        """Return a record for every finished call."""
        text = self._file.read_text() if self._file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def wait_for_both(self) -> None:
        """Wait until each caller has been answered once."""
        give_up_at = time.monotonic() + servers.START_SECONDS
        while {record["kind"] for record in self.records()} < {polite.BEFORE, polite.NEW}:
            assert time.monotonic() < give_up_at, "the polite callers do not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the callers; calls in flight may finish."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(2 * polite.CALL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
