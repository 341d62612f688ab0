"""Outages and restarts of a real server during a run."""

import contextlib
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable

import psutil
import pytest
from running import servers

START_SECONDS = 60
LOADS = [
    pytest.param(["--users", 4], "tfs-grpc", id="closed"),
    pytest.param(["--rate", 100], "tfs-grpc", id="open"),
    pytest.param(["--users", 4], "tfs-rest", id="closed-rest", marks=pytest.mark.slow),
]


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        return free.getsockname()[1]


@pytest.fixture
def outage_run(start, finish, wait_for_progress) -> Callable:
    """Return a function that runs a load of 12 s and calls `meddle` after its first seconds."""

    def run(port: int, flags: list, meddle: Callable[[], object]):
        process, folder = start(
            *("--target", f"127.0.0.1:{port}", "--model", "cat", "--duration", 14, *flags),
            *("--abort-after-errors", 0, "--max-error-rate", 1),
        )
        wait_for_progress(process)
        meddled = meddle()
        return finish(process, folder), meddled

    return run


@pytest.mark.parametrize(("flags", "transport"), LOADS)
def test_the_outage_of_a_server_that_is_killed_is_as_long_as_it_was(
    image_models_dir, outage_run, flags, transport
):
    """The report has the time from SIGKILL until the next server answers, within 0.7 s.

    The server answers some time between the lines `listening on` and `ready` of its log.
    """
    port = _free_port()
    serve = ("--models_dir", str(image_models_dir), "--port", str(port))

    with contextlib.ExitStack() as running:
        first = running.enter_context(servers.as_process(*serve))
        first.wait_for("ready: ")

        def restart() -> tuple[float, float]:
            first.process.kill()
            killed = time.monotonic()
            first.process.wait()
            time.sleep(1.5)
            second = running.enter_context(servers.as_process(*serve))
            second.wait_for("listening on")
            listening = time.monotonic() - killed
            second.wait_for("ready: ")
            return listening, time.monotonic() - killed

        result, (listening, ready) = outage_run(port, [*flags, "--transport", transport], restart)

    found = result.report.availability
    assert result.report.status == "complete", result.stderr
    assert result.exit_code == 0, result.stderr
    assert len(found.outages) == 1
    assert listening - 0.7 < found.longest_outage.seconds < ready + 0.7
    assert found.recovered
    assert found.longest_outage.seconds <= found.time_to_recover_seconds < ready + 0.9
    assert found.share == pytest.approx(1 - found.outage_seconds / 14, abs=0.1)
    assert result.report.errors["UNAVAILABLE"].count > 10
    (line,) = re.findall(r"^available +(.*)$", result.stdout, re.MULTILINE)
    assert re.match(r"\d+\.\d{3} % .*1 outage, the longest ", line), line
    assert "<h2>Availability</h2>" in (result.folder / "report.html").read_text()
    assert "## Availability" in (result.folder / "report.md").read_text()


@pytest.mark.parametrize(("flags", "transport"), LOADS)
def test_the_outage_of_a_server_that_hangs_is_as_long_as_it_was(
    image_models_dir, outage_run, flags, transport
):
    """SIGSTOP for 3 s is an outage of 3 s within 0.7 s, although no request fails."""
    port = _free_port()
    serve = ("--models_dir", str(image_models_dir), "--port", str(port))

    with servers.as_process(*serve) as server:
        server.wait_for("ready: ")

        def pause() -> None:
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            server.process.send_signal(signal.SIGCONT)

        result, _ = outage_run(port, [*flags, "--transport", transport], pause)

    found = result.report.availability
    assert result.exit_code == 0, result.stderr
    assert found.longest_outage.seconds == pytest.approx(3, abs=0.7)
    assert found.recovered
    assert result.report.requests.failed == 0
    if "--users" in flags:
        assert found.share == pytest.approx(1 - 3 / 14, abs=0.1)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(["--users", 8], id="closed", marks=pytest.mark.slow),
        pytest.param(["--rate", 100], id="open"),
    ],
)
def test_a_rolling_restart_of_two_workers_fails_no_request(image_models_dir, outage_run, flags):
    """SIGTERM to one worker after the other: each drains and is replaced, and no request fails."""
    port = _free_port()
    serve = ("--models_dir", str(image_models_dir), "--port", str(port), "--workers=2")

    with servers.as_process(*serve) as server:
        server.wait_for("ready: ")

        def roll() -> None:
            for worker in _workers(server.process.pid):
                worker.terminate()
                worker.wait(START_SECONDS)
                _wait_until_ready(port, server.process.pid, worker.pid)

        result, _ = outage_run(port, [*flags, "--duration", 25], roll)

    found = result.report.availability
    assert result.exit_code == 0, result.stderr
    assert result.report.requests.failed == 0, result.report.errors
    assert found.good == found.requests - found.withheld
    assert found.share > 0.5


def _workers(supervisor: int) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(supervisor).children() if "serving" in child.cmdline()
    ]


def _wait_until_ready(port: int, supervisor: int, ended: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    url = f"http://127.0.0.1:{port}/monitoring/prometheus/metrics"
    while True:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        workers = [worker.pid for worker in _workers(supervisor)]
        if len(workers) < 2 or ended in workers:
            continue
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
            if re.search(r"^onnx_serving_workers_ready\S* 2", page.read().decode(), re.MULTILINE):
                return
