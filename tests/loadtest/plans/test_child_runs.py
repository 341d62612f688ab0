"""The processes of runs: their command line, their environment and their folder."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.plans import child_runs
from loadtest.plans.child_runs import CommonSettings
from loadtest.plans.endpoints import Endpoint
from loadtest.plans.targets import AUTO, Target
from loadtest.report_file import ReportError, read_run
from loadtest.servers.description import Served, ServedModel
from loadtest.servers.local import LocalServer
from loadtest.settings.connection_flags import API_KEY_VARIABLE

SERVED = Served({"cat": ServedModel(3, "int8", "CPUExecutionProvider")}, {})
VERSION = ["--version=3", "--precision=int8", "--provider=CPUExecutionProvider"]
ALL_SECONDS = 60


@pytest.fixture
def endpoint():
    """Return a function that returns an endpoint; `own` is the process of a server, if any."""

    def made(own: LocalServer | None = None) -> Endpoint:
        return Endpoint(Target("here", "localhost:1", (), (AUTO,)), "localhost:1", SERVED, own)

    return made


@pytest.fixture
def own_server(tmp_path):
    """A server that the load test started, and that has ended with exit code 9."""
    log = tmp_path / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-c", "print('one'); print('out of memory'); raise SystemExit(9)"],
            stdout=output,
        ) as process,
    ):
        return LocalServer(process, "localhost:1", [], log)


def settings(folder: Path) -> CommonSettings:
    return CommonSettings(
        folder=folder,
        models_dir=Path("models"),
        data_dir=Path("cifar"),
        connection_flags=["--tls"],
    )


def test_a_run_gets_the_flags_of_its_load_and_of_all_runs(endpoint, tmp_path):
    """The order is: target and model, load, folder, the plan's own flags, then common ones."""
    flags = settings(tmp_path).flags(
        endpoint(), "cat", ["--rate=5"], ["--name=n", "--seed=1"], tmp_path / "run"
    )

    assert flags == [
        *("--target=localhost:1", "--model=cat", "--rate=5", f"--output-dir={tmp_path / 'run'}"),
        *("--name=n", "--seed=1", "--models-dir=models", "--tls", "--data-dir=cifar", *VERSION),
    ]


def test_rows_of_another_kind_get_no_test_images(endpoint, tmp_path):
    """A load that names its rows gets neither the test images nor the record about them."""
    flags = settings(tmp_path).flags(endpoint(), "cat", ["--random=9"], [], tmp_path)

    assert not any(flag.startswith(("--models-dir", "--data-dir")) for flag in flags)


def test_a_version_label_excludes_the_latest_version(endpoint, tmp_path):
    """A load with a version label gets no version, because `run` takes one of the two."""
    flags = settings(tmp_path).flags(endpoint(), "cat", ["--version-label=canary"], [], tmp_path)

    assert not set(VERSION) & set(flags)


def test_a_model_that_the_server_does_not_name_has_no_version(endpoint, tmp_path):
    """A model that is not on the metrics page is asked for without a version."""
    flags = settings(tmp_path).flags(endpoint(), "dog", [], [], tmp_path)

    assert not set(VERSION) & set(flags)


def test_a_server_of_the_load_test_needs_no_connection_flags(endpoint, own_server, tmp_path):
    """The flags for TLS and keys are only for servers that were running before."""
    flags = settings(tmp_path).flags(endpoint(own_server), "cat", [], [], tmp_path)

    assert "--tls" not in flags


def test_the_output_begins_with_the_command_line_without_secrets(endpoint, tmp_path):
    """The values of headers are left out, and the last error of the output is the problem."""
    command = ["run", "--model=cat", "--header=x-token: secret", "--no-such-flag"]
    folder = tmp_path / "runs" / "1"
    run = child_runs.start(command, folder, endpoint())
    run.process.wait(ALL_SECONDS)

    first = (folder / "output.txt").read_text().splitlines()[0]
    assert first == "$ python -m loadtest run --model=cat --header=x-token:... --no-such-flag"
    assert "--no-such-flag" in child_runs.problem(folder, endpoint())
    assert run.has_ended
    assert run.process.returncode == 2


def test_a_report_of_an_earlier_plan_is_removed(endpoint, tmp_path):
    """A run that fails in a folder with an older report has no report."""
    (tmp_path / "report.json").write_text("{}")
    child_runs.start(["run", "--no-such-flag"], tmp_path, endpoint()).close()

    with pytest.raises(ReportError, match="cannot read a report"):
        read_run(tmp_path)


@pytest.mark.parametrize("own", [False, True])
def test_only_running_servers_get_the_api_key(endpoint, own_server, tmp_path, monkeypatch, own):
    """A run against a server of the load test does not inherit the variable with the key."""
    monkeypatch.setenv(API_KEY_VARIABLE, "not a key")
    command = ["run", "--target=localhost:1", "--model=cat"]
    run = child_runs.start(command, tmp_path, endpoint(own_server if own else None))
    run.process.wait(ALL_SECONDS)

    # A run that inherits the variable refuses its value, because it has spaces.
    output = (tmp_path / "output.txt").read_text()
    assert (f"${API_KEY_VARIABLE} holds no API key" in output) is not own


def test_the_end_of_a_server_is_the_problem_of_its_runs(endpoint, own_server, tmp_path):
    """If the server of the load test ended, its exit code and last words are the reason."""
    (tmp_path / "output.txt").write_text("$ python -m loadtest run\nerror: connection refused\n")

    assert child_runs.problem(tmp_path, endpoint()) == "connection refused"
    assert "exit code 9: one / out of memory" in child_runs.problem(tmp_path, endpoint(own_server))


def test_a_run_without_a_word_has_a_problem_too(endpoint, tmp_path):
    """An output with nothing after the command line gives a sentence that says so."""
    (tmp_path / "output.txt").write_text("$ python -m loadtest run\n")

    assert child_runs.problem(tmp_path, endpoint()) == "it ended without a word"


def test_a_closed_run_has_ended(endpoint, tmp_path):
    """Closing a run that is under way kills it; an interruption after its end does nothing."""
    run = child_runs.start(["null-server"], tmp_path, endpoint())
    deadline = time.monotonic() + ALL_SECONDS
    while not (tmp_path / "output.txt").read_text().partition("\n")[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not run.has_ended
    run.close()
    run.interrupt()

    assert run.process.returncode == -signal.SIGKILL


def test_a_name_becomes_a_folder_name(tmp_path):
    """Spaces, slashes and `=` become hyphens, and long names are cut."""
    folder = settings(tmp_path).run_folder("001", "run --shape=ramp:1..9 a/b" + "x" * 99)

    assert folder.parent == tmp_path / "runs"
    assert folder.name.startswith("001-run-shape-ramp-1..9-a-bxx")
    assert len(folder.name) == len("001-") + 80
