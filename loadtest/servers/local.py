"""A model server that the load test starts, measures and stops."""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.report_schema import Gpu, ServerProcess
from loadtest.servers import bound_process
from loadtest.settings.config import UsageError

_START_SECONDS = 300.0
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.05
_LOG_LINES = 3
_ADDRESS = re.compile(r"listening on (\S+:\d+)")
_READY = re.compile(r"ready: ")
_GPU_QUERY = (
    *("nvidia-smi", "--query-gpu=name,driver_version,memory.used"),
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True)
class Usage:
    """CPU time since the start of a server, and its memory now, including its workers."""

    cpu_seconds: float
    memory_bytes: int


class LocalServer:
    """`python -m serving` as a child process."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", address: str, flags: list[str], log: Path
    ) -> None:
        """Wrap the process that `started` started."""
        self.address = address
        self._child = process
        self._process = psutil.Process(process.pid)
        self._flags = flags
        self._log = log

    def end(self) -> str | None:
        """Return how the server ended, with its last words; None while it runs."""
        code = self._child.poll()
        if code is None:
            return None
        return f"the server ended during the test with exit code {code}: {self.last_words()}"

    def last_words(self) -> str:
        """Return the last lines of the server's log as one line, with the name of the file."""
        return _last_words(self._log)

    def usage(self) -> Usage:
        """Return CPU time and memory so far; zeros if the process has ended."""
        cpu_seconds, memory_bytes = 0.0, 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (self._process, *self._process.children(recursive=True)):
                times = process.cpu_times()
                cpu_seconds += times.user + times.system
                memory_bytes += process.memory_info().rss
        return Usage(cpu_seconds, memory_bytes)

    def section(self, before: Usage, *, requests: int, provider: str | None) -> ServerProcess:
        """Return the report's section on the server process.

        Args:
            before: Usage before the requests.
            requests: Number of requests since then.
            provider: Execution provider; a GPU is described unless it starts with "CPU".
        """
        after = self.usage()
        cpu_seconds = after.cpu_seconds - before.cpu_seconds
        return ServerProcess(
            flags=self._flags,
            cpu_seconds=cpu_seconds,
            cpu_us_per_request=1e6 * cpu_seconds / requests if requests else None,
            memory_bytes=after.memory_bytes,
            gpu=gpu() if provider and not provider.startswith("CPU") else None,
        )


@contextlib.contextmanager
def started(models_dir: Path, flags: Sequence[str], log: Path) -> Iterator[LocalServer]:
    """Start a server on a free port of this machine, yield it when ready, and stop it afterwards.

    The server also ends if this process is killed; see `bound_process`.

    Args:
        models_dir: Model folder to serve.
        flags: Further flags of `python -m serving`.
        log: File for the server's log.

    Raises:
        UsageError: The server ends during the start, or is not ready within 300 s.
    """
    command = [sys.executable, "-m", "serving", "--models_dir", str(models_dir)]
    command += ["--host", "127.0.0.1", "--port", "0", *flags]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            bound_process.command(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the load test to handle
        )
    try:
        yield LocalServer(process, _wait_until_ready(process, log), list(flags), log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gpu() -> Gpu | None:
    """Return name, driver and used memory of the first GPU, by nvidia-smi; None without one."""
    if shutil.which(_GPU_QUERY[0]) is None:
        return None
    try:
        line = subprocess.run(
            _GPU_QUERY, capture_output=True, text=True, check=True, timeout=30
        ).stdout.splitlines()[0]
        name, driver, used = (part.strip() for part in line.split(","))
        return Gpu(name=name, driver=driver, memory_used_bytes=int(used) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        ended = process.poll() is not None
        text = log.read_text(encoding="utf-8", errors="replace")
        address = _ADDRESS.search(text)
        if address and _READY.search(text) and not ended:
            return address.group(1)
        if ended or time.monotonic() > deadline:
            what = (
                f"ended at once with exit code {process.returncode}"
                if ended
                else f"is not ready after {_START_SECONDS:g} s"
            )
            msg = f"the server {what}: {_last_words(log)}"
            raise UsageError(msg)
        time.sleep(_POLL_SECONDS)


def _last_words(log: Path) -> str:
    """Return the last lines of a server's log as one line, with the name of the file."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = [" ".join(line.split()) for line in lines if line.strip()][-_LOG_LINES:]
    return f"{' / '.join(last) or 'nothing was logged'} (its log: {log})"
