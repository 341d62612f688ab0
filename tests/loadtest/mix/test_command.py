"""Mixes of tiny models against real servers."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from loadtest.load import recorded_traffic
from loadtest.load.arrivals import poisson
from loadtest.report_file import read_run
from loadtest.reports.collection import read

RUN_SECONDS = 100
NAMES = ["singles", "fours"]


@pytest.fixture(scope="module")
def start_mix(image_models_dir, data_dir):
    """Return a function that starts `python -m loadtest mix`."""
    processes = []

    def start(*arguments: object, folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "loadtest", "mix", *map(str, arguments)]
        flags = (f"--models-dir={image_models_dir}", "--no-record", f"--data-dir={data_dir}")
        process = subprocess.Popen(
            [*command, *flags, f"--output-dir={folder}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def run_mix(start_mix):
    """Return a function that runs a mix; it returns exit code and both outputs."""

    def run(*arguments: object, folder: Path) -> tuple[int, str, str]:
        process = start_mix(*arguments, folder=folder)
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
        return process.returncode, stdout, stderr

    return run


def written(folder: Path, text: str) -> Path:
    file = folder / "mix.toml"
    file.write_text(textwrap.dedent(text))
    return file


@pytest.fixture(scope="module")
def mixed(run_mix, tmp_path_factory):
    """`cat` one by one and `echo` in batches of four, beside each other on a new server."""
    folder = tmp_path_factory.mktemp("mix")
    file = written(
        folder,
        """
        name = "two models"
        duration = 2
        rate = 90
        [target]
        name = "here"
        serve = ["--instances=1"]
        [defaults]
        warmup-requests = 4
        [[streams]]
        name = "singles"
        model = "cat"
        share = 0.75
        [[streams]]
        name = "fours"
        model = "echo"
        batch = 4
        share = 0.25
        transport = "kserve-grpc"
        """,
    )
    exit_code, stdout, stderr = run_mix(file, "--json", folder=folder / "report")
    assert exit_code == 0, stderr
    return folder / "report", stdout, stderr


def raw(folder: Path, result) -> dict[str, np.ndarray]:
    with np.load(Path(result.folder) / "raw.npz") as archive:
        return dict(archive)


def test_each_stream_sends_exactly_its_own_schedule(mixed):
    """Every stream has the requests that its rate and seed give, and its own batch and model."""
    folder, _, _ = mixed
    results = read(folder).results

    assert [result.report.scenario.stream for result in results] == NAMES
    for seed, (result, rate, batch) in enumerate(zip(results, (67.5, 22.5), (1, 4), strict=True)):
        drawn = poisson(rate, requests=None, duration_seconds=2, seed=seed).due_ns
        report, samples = result.report, raw(folder, result)
        assert report.requests.answered == report.requests.scheduled == len(drawn)
        assert report.accuracy.n == batch * len(drawn)
        assert report.scenario.batch == batch
        assert sorted(samples["due_ns"]) == (drawn - drawn[0]).tolist()
    assert [result.report.model.name for result in results] == ["cat", "echo"]
    assert [result.report.transport for result in results] == ["tfs-grpc", "kserve-grpc"]


def test_the_accuracy_of_each_stream_is_that_of_its_model(mixed, split):
    """`cat` is right about cats, `echo` about images whose number is their class."""
    folder, _, _ = mixed

    for result, answers in zip(
        read(folder).results, (np.full(24, 3), split.images[:, 0, 0, 0]), strict=True
    ):
        asked = raw(folder, result)["image_ids"].ravel()
        right = answers[asked] == split.labels[asked]
        assert result.report.accuracy.correct == int(right.sum())
        assert result.report.accuracy.top1 == right.mean()
        assert raw(folder, result)["answers"].ravel().tolist() == answers[asked].tolist()


def test_one_report_has_all_streams_and_their_totals(mixed):
    """The totals are the sums of the streams, and every page shows them."""
    folder, stdout, stderr = mixed
    document = read(folder)
    reports = [result.report for result in document.results]
    (totals,) = document.mixes

    assert totals.streams == NAMES
    assert totals.answered == sum(report.requests.answered for report in reports)
    assert totals.seconds == max(report.throughput.window_seconds for report in reports)
    assert totals.images_per_second == pytest.approx(
        sum(report.accuracy.n for report in reports) / totals.seconds
    )
    assert totals.client_cores == pytest.approx(
        sum(report.client.cpu_seconds for report in reports) / totals.seconds
    )
    assert totals.server_cores > 0
    assert totals.invalid_streams == NAMES  # a percentile needs more requests
    processes = [result.server_process for result in document.results]
    assert processes[0] == processes[1]
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text()
        assert "All streams together" in text
        assert "stream fours, batch 4" in text
    assert json.loads(stdout.splitlines()[-1])["mixes"][0]["answered"] == totals.answered
    assert "all 2 streams: INVALID: singles, fours" in stderr


def test_a_stream_can_be_repeated_by_hand(mixed):
    """The folder of a stream has a report of its own and its command line, without the gate."""
    folder, _, _ = mixed
    result = read(folder).results[1]
    first_line = (Path(result.folder) / "output.txt").read_text().splitlines()[0]

    assert read_run(Path(result.folder)) == result.report
    assert first_line.startswith("$ python -m loadtest run --target=")
    assert "--stream=fours" in first_line
    assert "gate" not in first_line.lower()


def test_recorded_traffic_of_two_models_becomes_a_mix(run_mix, image_target, tmp_path):
    """Each request goes to its model with its batch, at its time over the speed."""
    rows = [
        {"time": 0.1 * number, "model": model, "images": list(range(batch))}
        for number, (model, batch) in enumerate([("cat", 1), ("echo", 2), ("cat", 1)] * 5)
    ]
    file = tmp_path / "day.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "report"

    exit_code, _, stderr = run_mix(
        *("--replay", file, "--speed", 2, "--target", image_target), folder=folder
    )

    results = read(folder).results
    traffic = recorded_traffic.read(file)
    assert exit_code == 0, stderr
    assert [result.report.scenario.stream for result in results] == ["cat batch 1", "echo batch 2"]
    for result in results:
        mine = traffic.models == result.report.model.name
        due = np.rint(traffic.times_ns[mine] / 2).astype(np.int64)
        assert sorted(raw(folder, result)["due_ns"]) == (due - due[0]).tolist()
    assert read(folder).mixes[0].server_cores is None


def test_streams_of_which_one_cannot_start_are_not_sent(run_mix, image_target, tmp_path):
    """An unknown model ends the mix with one line and exit code 2, without a report."""
    file = written(
        tmp_path,
        f"""
        duration = 60
        [target]
        address = "{image_target}"
        [[streams]]
        model = "cat"
        rate = 5
        [[streams]]
        model = "nobody"
        rate = 5
        """,
    )

    exit_code, _, stderr = run_mix(file, folder=tmp_path / "report")

    last = stderr.splitlines()[-1]
    assert exit_code == 2
    assert last.startswith("error: repeat 1: no stream was started: nobody: ")
    assert "NOT_FOUND" in last
    assert not (tmp_path / "report" / "report.json").exists()


@pytest.mark.slow
def test_a_missed_gate_of_one_stream_fails_the_mix(run_mix, image_target, tmp_path):
    """The exit code is 1, and the last line names the stream; the report has both streams."""
    file = written(
        tmp_path,
        f"""
        duration = 1
        [target]
        address = "{image_target}"
        [[streams]]
        model = "cat"
        rate = 30
        [[streams]]
        model = "echo"
        rate = 30
        min-accuracy = 0.99
        """,
    )

    exit_code, _, stderr = run_mix(file, folder=tmp_path / "report")

    assert exit_code == 1
    assert stderr.splitlines()[-1].startswith("failed: echo, repeat 1: accuracy: top-1")
    assert len(read(tmp_path / "report").results) == 2


@pytest.mark.slow
def test_ctrl_c_ends_all_streams_with_what_was_measured(start_mix, image_target, tmp_path):
    """After SIGINT each stream has a report up to then, and no other repeat starts."""
    file = written(
        tmp_path,
        f"""
        duration = 300
        repeats = 2
        [target]
        address = "{image_target}"
        [[streams]]
        model = "cat"
        rate = 50
        [[streams]]
        model = "echo"
        rate = 50
        """,
    )
    folder = tmp_path / "report"
    process = start_mix(file, folder=folder)
    runs = folder / "runs"
    outputs = [runs / name / "output.txt" for name in ("01-01-cat", "01-02-echo")]
    deadline = time.monotonic() + RUN_SECONDS
    while not all(
        output.exists() and "requests finished" in output.read_text() for output in outputs
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=RUN_SECONDS)

    document = read(folder)
    assert process.returncode == 1, stderr
    assert document.stop_reason == "interrupted by SIGINT"
    assert [result.report.status for result in document.results] == ["interrupted"] * 2
    assert all(result.report.requests.answered > 0 for result in document.results)
    assert document.not_measured == ["repeat 2 left out, interrupted by SIGINT"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param([], "expected a mix file or --replay FILE", id="nothing"),
        pytest.param(["a.toml", "--replay=b.csv"], "and not both", id="both"),
        pytest.param(["a.toml", "--speed=2"], "go with --replay", id="speed"),
        pytest.param(["a.toml"], "cannot read a mix from a.toml", id="no-file"),
        pytest.param(["--replay=b.csv"], "cannot read recorded traffic", id="no-traffic"),
    ],
)
def test_a_command_line_without_a_mix_is_refused(run_mix, tmp_path, flags, words):
    """Usage errors are one line and exit code 2."""
    exit_code, _, stderr = run_mix(*flags, folder=tmp_path / "report")

    assert exit_code == 2
    assert words in stderr
    assert len(stderr.splitlines()) == 1
