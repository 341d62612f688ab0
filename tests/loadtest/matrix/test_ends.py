"""What is left when a matrix ends early: no process, no temporary file, no empty report."""

import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from loadtest.reports.collection import read

GONE_SECONDS = 45


def _wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=GONE_SECONDS)
    left = [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    for one in left:
        one.kill()
    return left


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
def test_servers_and_runs_end_with_the_matrix(
    matrix_toml, start_matrix, wait_for_run, number, workers
):
    """After SIGKILL or SIGHUP no server, worker, run or generator runs on; /tmp is as before."""
    file = matrix_toml(f"""
        models = ["cat"]
        [[targets]]
        serve = ["--workers={workers}"]
        [[scenarios]]
        duration = 300
        users = 4
        processes = 2
        server-timing = true
    """)
    temporary = file.parent / "temporary"
    temporary.mkdir()
    process, folder = start_matrix(file, TMPDIR=str(temporary))
    wait_for_run(folder, 1)
    descendants = psutil.Process(process.pid).children(recursive=True)
    assert any("serving" in one.cmdline() for one in descendants)
    assert len(descendants) >= 4 + (workers > 1) * 2

    process.send_signal(number)

    assert not _wait_until_gone(descendants)
    process.communicate(timeout=GONE_SECONDS)
    assert process.returncode == (-number if number == signal.SIGKILL else 1)
    assert not list(temporary.iterdir())
    if number == signal.SIGHUP:
        document = read(folder)
        assert document.stop_reason == "interrupted by SIGHUP"
        assert document.results[0].report.requests.answered > 0


def test_a_server_ends_with_a_matrix_that_is_killed_while_it_starts(matrix_toml, start_matrix):
    """A server that is still loading its libraries ends, too."""
    file = matrix_toml("""
        [[targets]]
        serve = []
        [[scenarios]]
        requests = 12
    """)
    process, _ = start_matrix(file)
    deadline = time.monotonic() + GONE_SECONDS
    children: list[psutil.Process] = []
    while not children:
        assert time.monotonic() < deadline
        children = psutil.Process(process.pid).children()
    time.sleep(0.1)

    process.kill()

    assert not _wait_until_gone(children)


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        pytest.param(["--no-such-flag"], ["exit code 2", "--no-such-flag"], id="flag"),
        pytest.param(["--precision=int8"], ["serves no model", "int8"], id="model"),
        pytest.param(["--rest_api_port=-5"], ["exit code 2", "-5"], id="port"),
    ],
)
def test_a_server_that_does_not_start_leaves_no_report(matrix_toml, run_matrix, serve, words):
    """One line quotes the server's last words, the exit code is 2, and no report is left."""
    file = matrix_toml(f"""
        [[targets]]
        serve = {serve}
        [[scenarios]]
        requests = 12
    """)

    exit_code, stdout, stderr, folder = run_matrix(file)

    last = stderr.splitlines()[-1]
    assert exit_code == 2
    assert stdout == ""
    assert last.startswith("error: the server ")
    assert all(word in last for word in words), last
    assert not list(folder.rglob("report.*"))


def test_a_server_that_dies_is_named_and_the_rest_is_not_measured(
    matrix_toml, start_matrix, wait_for_run
):
    """The reason is the server's end with its last words; no run leaves an empty report."""
    file = matrix_toml("""
        models = ["cat"]
        repeats = 2
        [[targets]]
        serve = []
        [[scenarios]]
        duration = 4
    """)
    process, folder = start_matrix(file)
    wait_for_run(folder, 1)
    (server,) = (
        one for one in psutil.Process(process.pid).children() if "serving" in one.cmdline()
    )

    server.kill()

    _, stderr = process.communicate(timeout=GONE_SECONDS)
    document = read(folder)
    assert process.returncode == 1, stderr
    assert [result.report.status for result in document.results] == ["aborted"]
    (reason,) = document.not_measured
    assert "the server ended during the test with exit code -9: " in reason
    assert all(file.stat().st_size for file in folder.rglob("report.*"))


def test_a_report_of_an_earlier_matrix_is_not_taken_for_a_new_one(
    matrix_toml, run_matrix, image_target, tmp_path
):
    """A run that fails is not measured, although its folder holds an older report."""

    def matrix(more: str) -> Path:
        return matrix_toml(f"""
            models = ["cat"]
            [[targets]]
            address = "{image_target}"
            [[scenarios]]
            requests = 12
            {more}
        """)

    first, _, _, folder = run_matrix(matrix(""))
    shutil.copytree(next(folder.glob("runs/*")), tmp_path / "copy")
    # The name of a run's folder has its flags; the older report is put where the new run writes.
    exit_code, _, _, _ = run_matrix(matrix('baseline = "/nowhere/report.json"'))
    (again,) = folder.glob("runs/*nowhere*")
    shutil.copytree(tmp_path / "copy", again, dirs_exist_ok=True)

    assert (first, exit_code) == (0, 2)
    exit_code, _, stderr, _ = run_matrix(matrix('baseline = "/nowhere/report.json"'))

    assert exit_code == 2
    assert "/nowhere/report.json" in stderr.splitlines()[-1]
