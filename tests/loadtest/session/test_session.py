import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from running import servers

from loadtest.generator import realtime


def test_ctrl_c_ends_every_process_and_keeps_what_was_measured(
    start, finish, wait_for_progress, image_target
):
    """Ctrl-C stops two generators, and each sent request has an outcome in the report."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--users", 4, "--processes", 2),
        *("--duration", 600),
    )
    wait_for_progress(process)

    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report.status == "interrupted"
    assert result.report.client.processes == 2
    requests = result.report.requests
    assert requests.answered == requests.sent > 0
    assert set(result.raw["request"] % 2) == {0, 1}  # each process has every other one


@pytest.mark.skipif(realtime.refusal() is not None, reason="needs CAP_SYS_NICE")
def test_only_generators_have_real_time_priority(start, finish, wait_for_progress, image_target):
    """With --realtime the generator process has the priority, and the load test itself has not."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--realtime", "--duration", 600)
    )
    wait_for_progress(process)
    generator = generator_of(process.pid)

    policies = {
        *(os.sched_getscheduler(thread.id) for thread in generator.threads()),
        os.sched_getscheduler(process.pid),
    }
    priority = os.sched_getscheduler(generator.pid)
    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert priority == os.SCHED_RR
    assert policies == {os.SCHED_RR, os.SCHED_OTHER}
    assert result.report.client.processes == 1
    assert not [text for text in result.report.warnings if "--realtime" in text]


def generator_of(pid: int) -> psutil.Process:
    """Return the generator process of a load test."""
    # multiprocessing's resource tracker is a child process, too.
    return next(
        child
        for child in psutil.Process(pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    )


def test_a_generator_process_that_dies_ends_the_run(start, finish, wait_for_progress, image_target):
    """If a generator process dies, the run ends with an error."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--users", 4, "--processes", 2),
        *("--duration", 600),
    )
    wait_for_progress(process)

    generator_of(process.pid).kill()
    result = finish(process, folder)

    assert result.exit_code == 2
    assert "error: a generator process ended unexpectedly" in result.stderr


def test_a_model_that_cannot_be_scored_is_refused_at_once(run, target):
    """A model without an image input is refused before the run; the message quotes the server."""
    result = run("--target", target, "--model", "identity")

    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert "identity" in result.stderr


def test_ctrl_c_ends_a_run_early_and_still_writes_the_report(
    start, finish, wait_for_progress, image_target
):
    """The report has the results before the interruption and is marked as interrupted."""
    flags = ("--target", image_target, "--model", "cat", "--users", 2, "--duration", 600)
    process, folder = start(*flags)
    wait_for_progress(process)

    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report.status == "interrupted"
    assert result.report.stop_reason == "interrupted by SIGINT"
    assert result.stderr.splitlines()[-1] == "failed: complete: interrupted by SIGINT"
    assert result.report.requests.answered > 0
    assert result.report.requests.unfinished == 0
    assert result.report.errors == {}


@pytest.fixture
def server(image_models_dir) -> Iterator[tuple[servers.ServerProcess, str]]:
    """A separate server process, which tests kill or stop, and its address."""
    with servers.as_process("--models_dir", str(image_models_dir), "--port", "0") as process:
        address = process.wait_for(r"listening on ([\d.]+:\d+)").group(1)
        process.wait_for("ready: ")
        yield process, address


def test_a_server_that_dies_midway_ends_the_run_with_what_was_measured(
    start, finish, wait_for_progress, server
):
    """After 100 failures in a row the run ends, although ten minutes were requested."""
    victim, address = server
    flags = ("--target", address, "--model", "cat", "--users", 4, "--duration", 600)
    process, folder = start(*flags)
    wait_for_progress(process)

    victim.process.kill()
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report.status == "aborted"
    assert "100 requests in a row did not reach the server" in result.report.stop_reason
    assert result.report.errors["UNAVAILABLE"].count >= 100
    assert result.report.requests.answered > 0
    assert result.report.accuracy.n == result.report.requests.answered


def test_a_server_that_hangs_ends_the_run(start, finish, wait_for_progress, server):
    """If requests only time out, the run ends long before 100 failures."""
    victim, address = server
    flags = ("--target", address, "--model", "cat", "--duration", 600, "--timeout", 0.5)
    process, folder = start(*flags)
    wait_for_progress(process)

    victim.process.send_signal(signal.SIGSTOP)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report.stop_reason.startswith("no answer for ")
    assert list(result.report.errors) == ["DEADLINE_EXCEEDED"]
    assert result.report.requests.answered > 0
