import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import servers

PROGRAM = "import time; time.sleep(1000)"


def note_pid(pid: int) -> None:
    with Path(os.environ["PIDS_FILE"]).open("a") as file:
        file.write(f"{pid}\n")


def test_hangs_in_a_program():
    """The program that a test runs never ends."""
    program = f"import os; print(os.getpid(), flush=True); {PROGRAM}"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        note_pid(process.pid)
        try:
            process.communicate()
        finally:
            process.kill()


def test_hangs_in_a_server(models_dir):
    """A server process never logs the line that a test waits for."""
    with servers.as_process("--models_dir", str(models_dir), "--port", "0") as server:
        note_pid(server.process.pid)
        server.wait_for("no line of its log", timeout=1000)


@pytest.mark.parametrize("limit", [pytest.param("mark", marks=pytest.mark.timeout(1))])
def test_hangs_with_a_limit_of_its_own(limit):
    """A test with a mark has the time limit of the mark instead of the general one."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_passes():
    """This test runs, although other tests hung before it."""
