"""A test that hangs fails within its time limit, the other tests run, and pytest ends."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANGING = ROOT / "tests" / "project" / "hanging"
LIMIT_SECONDS = 2
EXIT_SECONDS = 1


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[int, str, list[int]]]:
    """Exit code, output and child process ids of a pytest run, by file of hanging tests."""
    folder = tmp_path_factory.mktemp("hanging")
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "pyproject.toml"),
        *("-o", f"timeout={LIMIT_SECONDS}", "-o", f"exit_seconds={EXIT_SECONDS}"),
        *("-o", "faulthandler_timeout=0"),
    ]
    running = {}
    for file in sorted(HANGING.glob("in_*.py")):
        output = (folder / f"{file.stem}.txt").open("w+")
        process = subprocess.Popen(
            [*command, f"--basetemp={folder / file.stem}", str(file)],
            cwd=ROOT,
            env=os.environ | {"PIDS_FILE": str(folder / f"{file.stem}.pids")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        running[file.stem] = process, output
    found = {}
    give_up_at = time.monotonic() + 60
    try:
        for name, (process, output) in running.items():
            code = process.wait(give_up_at - time.monotonic())
            output.seek(0)
            pids = folder / f"{name}.pids"
            found[name] = (
                code,
                output.read(),
                [int(line) for line in pids.read_text().split()] if pids.exists() else [],
            )
    finally:
        for process, output in running.values():
            process.kill()
            process.wait()
            output.close()
    return found


@pytest.mark.parametrize(
    ("name", "hanging"),
    [("in_the_main_thread", 3), ("in_a_servers_thread", 3), ("in_a_child_process", 3)],
)
def test_a_test_that_hangs_fails_and_the_others_run(outcomes, name, hanging):
    """Every hanging test fails within its limit, the last test passes, and pytest exits with 1."""
    code, output, _ = outcomes[name]

    assert code == 1, output
    assert re.search(rf"{hanging} failed, 1 passed(, \d+ error)? in", output), output
    assert len(
        re.findall(r"^E +Failed: Timeout \(>\d\.0s\) from pytest-timeout", output, re.MULTILINE)
    ) >= (hanging), output


def test_an_executor_that_hangs_is_shown(outcomes):
    """If Python waits for an executor's thread at exit, the stacks of all threads are printed."""
    _, output, _ = outcomes["in_a_servers_thread"]

    assert "Timeout (0:00:01)!" in output
    assert "in_a_servers_thread.py" in output.partition("Timeout (0:00:01)!")[2]


def test_the_children_of_a_test_that_hangs_are_ended(outcomes):
    """A program and a server that were started by hanging tests are no longer running."""
    _, _, pids = outcomes["in_a_child_process"]

    assert len(pids) == 2
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
