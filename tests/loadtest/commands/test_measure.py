"""The commands end to end, one short run each."""

import json
import re
import signal
import subprocess
import sys

import psutil
import pytest


def loadtest(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m loadtest` with nothing added."""
    command = [sys.executable, "-m", "loadtest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def poisson_run(run, image_target):
    """700 Poisson arrivals with everything that may be asked for, from two processes."""
    return run(
        *("--target", image_target, "--model", "cat", "--scenario", "server", "--rate", 300),
        *("--requests", 700, "--slo-ms", 5000, "--processes", 2, "--server-timing", "--floor"),
        *("--gate", "--min-accuracy", 0.01, "--schedule-seed", 4),
    )


def test_poisson_arrivals_from_two_processes_are_one_run(poisson_run):
    """Every request of the common schedule is sent once, and timed from when it was due."""
    report = poisson_run.report

    assert report["scenario"]["loop"] == "open"
    assert report["scenario"]["offered_rate_per_second"] == 300
    assert report["client"]["processes"] == 2
    assert sorted(poisson_run.raw["request"]) == list(range(700))
    assert report["requests"]["scheduled"] == report["requests"]["sent"] == 700
    assert report["throughput"]["offered_requests_per_second"] == pytest.approx(300, rel=0.15)
    assert (poisson_run.raw["sent_ns"] >= poisson_run.raw["due_ns"]).all()
    assert report["latency_ms"]["p99"] is not None
    assert report["slo"]["met"]
    assert sum(window["scheduled"] for window in report["windows"]) == 700


def test_what_was_asked_for_is_in_the_report(poisson_run):
    """The server's own times, the null server's floor, goodput, and every gate."""
    report = poisson_run.report

    assert report["server"]["n"] == 700
    assert report["server"]["total_ms"]["p50"] > 0
    assert report["floor"]["n"] == 700
    assert report["floor"]["failed"] == 0
    assert report["floor"]["p99_ms"] > 0
    assert report["goodput"]["share"] == 1
    assert [gate["name"] for gate in report["gates"]] == [
        "complete",
        "errors",
        "accuracy",
        "valid",
        "slo",
    ]
    # On a busy machine a run may be INVALID; the exit code follows the gates, whatever they say.
    passed = all(gate["passed"] for gate in report["gates"])
    assert poisson_run.exit_code == (0 if passed else 1)


@pytest.mark.parametrize("transport", ["tfs-rest", "kserve-grpc"])
def test_other_transports_measure_the_same_model(run, image_target, split, transport):
    """`echo` answers the number drawn into each image, over REST and KServe as well."""
    result = run(
        *("--target", image_target, "--model", "echo", "--transport", transport),
        *("--scenario", "multi-stream", "--warmup-requests", 1),
    )

    numbers = split.images[:, 0, 0, 0]
    assert result.exit_code == 0, result.stderr
    assert result.report["scenario"]["batch"] == 8
    assert result.raw["answers"].tolist() == numbers[result.raw["image_ids"]].tolist()
    assert result.report["transport"] == transport


def test_offline_sends_all_images_in_batches(run, image_target):
    """24 images in batches of 5: four full ones and one of 4, two under way."""
    result = run(
        *("--target", image_target, "--model", "echo", "--scenario", "offline"),
        *("--batch", 5, "--in-flight", 2),
    )

    assert result.exit_code == 0, result.stderr
    assert result.report["validity"]["checks"][1]["name"] == "images"
    assert result.report["client"]["in_flight_max"] == 2
    answers = result.raw["answers"]
    assert sorted(answers[answers >= 0]) == list(range(24))
    assert (answers == -1).sum() == 1


@pytest.fixture(scope="module")
def capacity_run(run, image_target):
    """A search with a bound that every rate meets, ended by its number of steps."""
    return run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--percentile", 90),
        *("--start-rate", 200, "--step-seconds", 0.1, "--confirm-seconds", 0.3),
        *("--max-steps", 2, "--timeout", 30, "--min-accuracy", 0.01),
        command="find-capacity",
    )


def test_a_search_reports_every_step_and_confirms_its_result(capacity_run):
    """Twice the rate, then a longer run at the highest one that passed."""
    capacity = capacity_run.report["capacity"]

    steps = capacity["steps"]
    assert [(step["phase"], step["offered_rate_per_second"]) for step in steps[:3]] == [
        ("probe", 200),
        ("probe", 400),
        ("confirm", 400),
    ]
    assert [step["n"] for step in steps[:3]] == [64, 64, 120]
    # On a machine that is busy with something else a confirmation may be INVALID, and comes again.
    assert all(step["phase"] == "confirm" for step in steps[3:])
    assert capacity["confirmed"] == steps[-1]["passed"]
    assert capacity["confirmed"] == capacity_run.report["validity"]["valid"]
    assert all(step["reason"] for step in steps if not step["passed"])
    if capacity["confirmed"]:
        assert capacity_run.exit_code == 0, capacity_run.stderr
        assert capacity["rate_per_second"] == steps[-1]["offered_rate_per_second"]
    assert "probe: 64 requests at 400.0/s" in capacity_run.stderr


def test_a_search_without_a_passing_rate_fails(run, image_target):
    """No server answers in a microsecond: each step is cut short, and no rate is left."""
    result = run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 0.001, "--percentile", 90),
        *("--start-rate", 100, "--step-seconds", 0.1, "--max-steps", 4),
        command="find-capacity",
    )

    capacity = result.report["capacity"]
    assert result.exit_code == 1
    assert capacity["rate_per_second"] is None
    assert not capacity["confirmed"]
    # A step that fails is repeated.
    assert [step["offered_rate_per_second"] for step in capacity["steps"]] == [100, 100, 50, 50]
    assert "requests over 0.001 ms" in capacity["steps"][0]["reason"]
    assert "capacity: no rate passed" in result.stderr


def test_an_earlier_report_is_a_baseline(run, image_target, poisson_run):
    """A bound on how much worse this run may be; a report of another load is refused."""
    flags = ("--target", image_target, "--model", "cat", "--tolerance", 1e6)
    same = ("--scenario", "server", "--rate", 300, "--requests", 100)

    compared = run(*flags, *same, "--baseline", poisson_run.folder)
    refused = run(*flags, "--users", 2, "--baseline", poisson_run.folder)

    assert compared.exit_code == 0, compared.stderr
    names = [gate["name"] for gate in compared.report["gates"]]
    assert {"baseline-p50", "baseline-accuracy"} <= set(names)
    assert refused.exit_code == 2
    assert "scenario server there, users here" in refused.stderr


def test_a_missed_gate_is_one_line_and_exit_code_1(run, image_target):
    """Always answering 3 is not 90 % right."""
    result = run("--target", image_target, "--model", "cat", "--min-accuracy", 0.9)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("failed: accuracy: top-1 ")
    assert result.report["status"] == "complete"


def test_without_a_command_run_is_meant(image_target, data_dir, tmp_path):
    """The command line of earlier versions still works."""
    result = loadtest(
        *("--target", image_target, "--model", "cat", "--users", 2, "--warmup-requests", 2),
        *("--data-dir", data_dir, "--output-dir", tmp_path),
    )

    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "report.json").read_text())["scenario"]["users"] == 2


def test_commands_are_listed_and_unknown_ones_refused():
    """--help names every command with what it does."""
    listed, unknown = loadtest("--help"), loadtest("fly")

    assert listed.returncode == 0
    for name in ("run", "find-capacity", "web", "null-server"):
        assert f"  {name}" in listed.stdout
    assert unknown.returncode == 2
    assert "'fly' received, expected one of run, find-capacity" in unknown.stderr


def _first_line_with_requests(process: subprocess.Popen) -> None:
    for line in process.stderr:
        if re.search(r"[1-9][\d,]* requests finished", line):
            return


def test_ctrl_c_ends_every_process_and_keeps_what_was_measured(start, finish, image_target):
    """Two generators stop together; each request that was sent is accounted for."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--users", 4, "--processes", 2),
        *("--duration", 600),
    )
    _first_line_with_requests(process)

    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report["status"] == "interrupted"
    assert result.report["client"]["processes"] == 2
    requests = result.report["requests"]
    assert requests["answered"] == requests["sent"] > 0
    assert set(result.raw["request"] % 2) == {0, 1}  # each process has every other one


def test_ctrl_c_ends_a_search(start, finish, image_target):
    """What was found until then is reported, and it is no success."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--start-rate", 20),
        *("--step-seconds", 600, "--max-seconds", 6000),
        command="find-capacity",
    )
    _first_line_with_requests(process)

    process.send_signal(signal.SIGINT)
    result = finish(process, folder)

    assert result.exit_code == 1
    assert result.report["status"] == "interrupted"
    assert result.report["capacity"]["rate_per_second"] is None
    assert result.report["capacity"]["steps"] == []


def test_a_generator_process_that_dies_ends_the_run(start, finish, image_target):
    """Nobody waits for a recording that will not come."""
    process, folder = start(
        *("--target", image_target, "--model", "cat", "--users", 4, "--processes", 2),
        *("--duration", 600),
    )
    _first_line_with_requests(process)
    # Python's helper process of multiprocessing is a child, too.
    generator = next(
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    )

    generator.kill()
    result = finish(process, folder)

    assert result.exit_code == 2
    assert "error: a generator process ended unexpectedly" in result.stderr
