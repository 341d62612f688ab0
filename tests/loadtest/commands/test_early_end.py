"""What a run leaves that is killed, that loses its terminal or that loses a generator."""

import os
import pty
import re
import signal
import subprocess
import sys

import psutil
import pytest

from loadtest.report_file import read_run

GONE_SECONDS = 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_empty_report(start, wait_for_progress, image_target, number):
    """SIGKILL leaves an empty folder; SIGTERM leaves a whole report."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--duration", 300),
    )
    wait_for_progress(process)

    process.send_signal(number)

    process.communicate(timeout=GONE_SECONDS)
    if number == signal.SIGKILL:
        assert not list(folder.iterdir())
    else:
        assert read_run(folder).stop_reason == "interrupted by SIGTERM"


def test_a_run_that_loses_a_generator_leaves_no_report(start, wait_for_progress, image_target):
    """If a generator process is killed, the run ends with one line and exit code 2."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--duration", 300),
        *("--users", 2, "--processes", 2),
    )
    wait_for_progress(process)
    generators = [
        child
        for child in psutil.Process(process.pid).children()
        if not re.search("resource_tracker|live.process", " ".join(child.cmdline()))
    ]

    generators[0].kill()

    _, stderr = process.communicate(timeout=GONE_SECONDS)
    assert process.returncode == 2
    assert stderr.splitlines()[-1].startswith("error: a generator process ended unexpectedly")
    assert not list(folder.iterdir())


def test_a_run_whose_terminal_closes_still_writes_its_report(image_target, data_dir, tmp_path):
    """When the terminal closes, the run ends early and its report is complete."""
    folder = tmp_path / "report"
    command = [sys.executable, "-m", "loadtest", "run", "--target", image_target, "--model", "cat"]
    command += ["--duration", "300", "--data-dir", str(data_dir), "--output-dir", str(folder)]
    command += ["--plain"]  # tests of the full screen are those of loadtest.live
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)  # noqa: S606 - no shell
    shown = ""
    while "requests finished" not in shown:
        shown += os.read(terminal, 1024).decode(errors="replace")

    os.close(terminal)  # the kernel sends SIGHUP

    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    report = read_run(folder)
    assert report.stop_reason == "interrupted by SIGHUP"
    assert report.requests.answered > 0
    assert (folder / "report.html").stat().st_size > 0


def test_nohup_lets_a_run_go_on(image_target, data_dir, tmp_path):
    """A run that was started with SIGHUP ignored is not ended by it."""
    folder = tmp_path / "report"
    command = ["nohup", sys.executable, "-m", "loadtest", "run", "--target", image_target]
    command += ["--model", "cat", "--duration", "3", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        [*command, "--output-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if "finished" in line:
                break
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=GONE_SECONDS)

    assert process.returncode == 0
    assert read_run(folder).status == "complete"
