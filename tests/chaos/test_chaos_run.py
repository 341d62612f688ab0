"""A server with two workers under everything at once, for CHAOS_MINUTES (20).

CHAOS_SEED repeats the decisions of an earlier run; the moments differ.
"""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chaos import events
from chaos.callers import Callers, Pictures
from chaos.ledger import Ledger
from running import servers
from simulating.jumping_clock import JumpingClock, compiler

MINUTES = float(os.environ.get("CHAOS_MINUTES", "20"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 31)))
BUNDLED = Path(__file__).parents[2] / "models"
DISK = "24m"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - nothing is written there


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder on a disk of a few MB if one can be mounted, and whether it could."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    is_mounted = (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and not subprocess.run(mount, check=False, capture_output=True).returncode
    )
    yield folder, is_mounted
    if is_mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Leftovers:
    """Watches which processes and which shared memory a server has, while it runs."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        self._processes: set[psutil.Process] = {self._server}
        self._shared: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            with contextlib.suppress(psutil.Error, OSError):
                self._processes.update(self._server.children(recursive=True))
            for process in list(self._processes):
                with contextlib.suppress(psutil.Error, OSError):
                    maps = Path(f"/proc/{process.pid}/maps").read_text()
                    self._shared.update(re.findall(rf"{SHARED_MEMORY}/\S+", maps))

    def left(self) -> list[str]:
        """Return the processes that still run and the shared memory that is still there."""
        self._over.set()
        self._thread.join()
        running = [process for process in self._processes if process.is_running()]
        alive = [f"process {process.pid}" for process in running]
        return alive + [path for path in self._shared if Path(path).exists()]


def is_refused(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 900)
def test_every_answer_is_right_whatever_happens(tmp_path, small_disk, sample_images):
    """0 wrong answers, 0 calls lost but those on killed workers, and nothing is left behind."""
    print(f"CHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES:g}")  # noqa: T201 - to repeat the run
    disk, has_small_disk = small_disk
    sources, models, temporary = tmp_path / "sources", disk / "models", tmp_path / "tmp"
    events.make_sources(sources, BUNDLED)
    shutil.copytree(sources, models)
    shutil.copytree(sources / "simcnn", models / events.FILLED)
    temporary.mkdir()
    clock = JumpingClock(tmp_path) if compiler() else None
    if not has_small_disk:
        print("no full disk: a tmpfs can be mounted only by root")  # noqa: T201 - says what is left out
    if clock is None:
        print("no clock jumps: there is no C compiler")  # noqa: T201 - see above
    ledger = Ledger()
    path = tmp_path / "server.sock"
    flags = ("--workers=2", "--port=0", "--file_system_poll_wait_seconds=0.2")
    with servers.as_process(
        *(f"--models_dir={models}", f"--grpc_socket_path={path}", *flags),
        **({"TMPDIR": str(temporary)} | (clock.environment if clock else {})),
    ) as server:
        target = server.wait_for(r"bound (\S+), starting").group(1)
        server.wait_for("ready: 2 workers")
        leftovers = Leftovers(server.process.pid)
        pictures = Pictures(sample_images, BUNDLED / "simcnn" / "1" / "model.int8.onnx")
        chaos = events.Events(
            seed=SEED,
            target=target,
            supervisor=server.process.pid,
            models=models,
            sources=sources,
            ledger=ledger,
            clock=clock,
            has_small_disk=has_small_disk,
        )
        with Callers(target, pictures, ledger).calling():
            chaos.run(MINUTES * 60)
            chaos.wait_for_workers()
            time.sleep(2)
        code = server.terminate()
    left = leftovers.left()
    report = (
        f"events {dict(chaos.counts)}; outcomes {dict(chaos.outcomes)}; "
        f"answered {dict(ledger.answered)}; {len(ledger.kills)} kills; "
        f"{len(ledger.failures)} failures, {len(ledger.lost)} of them lost: "
        f"{dict(Counter(failure.reason for failure in ledger.lost).most_common(5))}, begun "
        f"{[round(seconds, 2) for seconds in ledger.seconds_after_kills()]} s after a kill"
    )
    print(report)  # noqa: T201 - the figures of the run
    log = "".join(server.log)

    assert ledger.wrong == []
    assert ledger.lost == [], report
    assert {"connected", "pictures", "new", "rest"} <= set(ledger.answered), report
    assert ledger.kills, report
    assert left == []
    assert is_refused(target)
    assert not path.exists()
    assert not events.in_use(temporary)
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
    assert code == 0
