"""End-to-end tests of the measuring commands, each with a short run."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtest.report_schema import Report
from loadtest.rows.images import shuffled
from serving.client import PredictClient, PredictError
from training.data.cifar10 import CLASS_NAMES


@pytest.fixture(scope="module")
def recorded_models_dir(image_models_dir, split, tmp_path_factory) -> Path:
    """A metrics.json of `cat` that records right classes for two images that `cat` gets wrong."""
    recorded = np.full(len(split), 3)
    recorded[np.flatnonzero(split.labels != 3)[:2]] = split.labels[split.labels != 3][:2]
    metrics = {
        "data": {"variant": "image-folder", "sha256": split.sha256(), "images": len(split)},
        "variants": {
            "fp32": {
                "n": len(split),
                "top1": float((recorded == split.labels).mean()),
                "predictions": "".join(map(str, recorded)),
            }
        },
    }
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "cat" / "1").mkdir(parents=True)
    (folder / "cat" / "1" / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def full_pass(run, image_target, recorded_models_dir):
    """One pass over the 24 images with five users, against the model that always answers 3."""
    return run(
        *("--target", image_target, "--model", "cat", "--users", 5, "--name", "first | run"),
        *("--models-dir", recorded_models_dir, "--warmup-requests", 7, "--json"),
    )


@pytest.fixture(scope="module")
def long_run(run, image_target):
    """700 requests of two images by four users: enough for a 99th percentile."""
    return run(
        *("--target", image_target, "--model", "cat", "--version", 1),
        *("--users", 4, "--batch", 2, "--requests", 700),
    )


def test_a_wrong_model_is_reported_at_its_true_accuracy(full_pass, split):
    """A model that always answers 3 scores 100 % on cats, 0 % on others, and the share of cats."""
    accuracy = full_pass.report.accuracy

    cats = int((split.labels == 3).sum())
    assert full_pass.report.status == "complete", full_pass.stderr
    assert (accuracy.correct, accuracy.n) == (cats, 24)
    assert accuracy.top1 == cats / 24
    assert accuracy.per_class == {
        name: (float(name == "cat") if label in split.labels else None)
        for label, name in enumerate(CLASS_NAMES)
    }


def test_a_full_pass_sends_every_image_exactly_once(run, image_target, split):
    """The answers of `echo`, the numbers drawn into the images, are 0 to 23, each once."""
    result = run("--target", image_target, "--model", "echo", "--users", 5, "--batch", 2)

    numbers = split.images[:, 0, 0, 0]
    assert result.exit_code == 0, result.stderr
    assert sorted(result.raw["answers"].ravel()) == list(range(24))
    assert result.raw["answers"].tolist() == numbers[result.raw["image_ids"]].tolist()
    assert msgspec.to_builtins(result.report.requests) == {
        "scheduled": 12,
        "sent": 12,
        "missed": 0,
        "answered": 12,
        "failed": 0,
        "unfinished": 0,
        "wrong": 0,
        "warmup": 100,
        "warmup_failed": 0,
    }


def test_the_recorded_accuracy_is_compared_answer_by_answer(full_pass, split, recorded_models_dir):
    """If two answers differ from the record, they are an error and the exit code is 1."""
    comparison = full_pass.report.accuracy.recorded
    metrics = json.loads((recorded_models_dir / "cat" / "1" / "metrics.json").read_text())

    recorded_top1 = metrics["variants"]["fp32"]["top1"]
    cats = float((split.labels == 3).mean())
    assert full_pass.exit_code == 1
    assert full_pass.report.errors["WRONG_ANSWER"].count == 2
    assert full_pass.report.mismatches.compared == 24
    assert comparison.top1 == recorded_top1 != cats
    assert comparison.difference_points == pytest.approx(100 * (cats - recorded_top1))
    assert full_pass.report.manifest.data.variant == "image-folder"
    assert "2 of 24 answers differ" in full_pass.stdout
    assert full_pass.stderr.splitlines()[-1].startswith("failed: wrong-answers: 2 answers differ")


def test_wrong_answers_may_be_allowed(run, image_target, recorded_models_dir):
    """--max-wrong-answers accepts differing answers, such as ties that resolve differently."""
    result = run(
        *("--target", image_target, "--model", "cat", "--models-dir", recorded_models_dir),
        *("--max-wrong-answers", 2),
    )

    assert result.exit_code == 0, result.stderr
    assert result.report.mismatches.differing == 2


def test_a_missing_record_fails_the_run(run, image_target, tmp_path):
    """A --models-dir without metrics.json is a missed gate; the last line names the file."""
    result = run("--target", image_target, "--model", "cat", "--models-dir", tmp_path)

    file = str(tmp_path / "cat" / "1" / "metrics.json")
    assert result.exit_code == 1
    assert file in result.report.accuracy.recorded_missing
    assert result.stderr.splitlines()[-1].startswith("failed: wrong-answers: no recorded accuracy")
    assert file in result.stderr.splitlines()[-1]


def test_percentiles_that_need_more_requests_are_not_printed(full_pass):
    """24 requests give a median, but neither p90 nor p99."""
    latency = full_pass.report.latency_ms

    assert latency.p50 > 0
    assert latency.p90 is None
    assert latency.p99 is None
    assert "p90 n/a (needs 64)" in full_pass.stdout
    assert "p99 n/a (needs 662)" in full_pass.stdout
    assert not full_pass.report.validity.valid


def test_percentiles_are_those_of_the_raw_timings(long_run):
    """The p99 of 700 requests is the 693rd of the sorted raw latencies, to the nanosecond."""
    latency = long_run.report.latency_ms
    sorted_ms = np.sort(long_run.raw["latency_ns"]) / 1e6

    assert len(sorted_ms) == latency.n == 700
    assert latency.p50 == sorted_ms[349]
    assert latency.p90 == sorted_ms[629]
    assert latency.p99 == sorted_ms[692]
    assert latency.max == sorted_ms[-1]


def test_throughput_is_that_of_the_timed_window(long_run):
    """Throughput is requests and images divided by the time from first send to last answer."""
    throughput = long_run.report.throughput
    ends_ns = long_run.raw["sent_ns"] + long_run.raw["latency_ns"]

    assert long_run.raw["due_ns"].min() == 0
    assert long_run.raw["sent_ns"].tolist() == long_run.raw["due_ns"].tolist()  # a closed loop
    assert throughput.window_seconds == pytest.approx(ends_ns.max() / 1e9)
    assert throughput.requests_per_second == pytest.approx(700e9 / ends_ns.max())
    assert throughput.images_per_second == pytest.approx(1400e9 / ends_ns.max())


def test_the_last_line_is_the_report_as_json(full_pass):
    """With --json the last line of standard output is the report; people read the lines above."""
    last = full_pass.stdout.splitlines()[-1]

    assert msgspec.json.decode(last, type=Report) == full_pass.report


def test_the_report_says_what_was_measured_and_with_what(full_pass, image_target, split):
    """The report contains target, load, data, versions and CPU time."""
    report = full_pass.report
    client = report.client

    assert report.schema_version == 2
    assert report.scenario.description == "closed loop, 5 users"
    assert report.scenario.plan == "each of 24 test images once"
    assert report.requests.warmup == 10
    assert report.target == image_target
    assert report.model.answers_by_version == {"1": 24}
    assert report.model.precision == "fp32"
    assert report.manifest.data.sha256 == split.sha256()
    assert set(report.manifest.versions) >= {"python", "locust", "grpcio", "numpy"}
    assert report.manifest.settings["seed"] == 0
    assert client.cpu_seconds > 0
    assert client.cpu_us_per_request == pytest.approx(1e6 * client.cpu_seconds / 24)


def test_every_form_of_the_report_is_written(full_pass):
    """A run writes its pages, tables and raw values."""
    page = (full_pass.folder / "report.md").read_text()

    assert {"report.csv", "report.html", "raw.npz"} <= {
        file.name for file in full_pass.folder.iterdir()
    }
    assert page.startswith("# ")
    assert "first \\| run" in page or "first | run" in page.splitlines()[0]


def test_failed_requests_are_reported_by_code_and_end_in_exit_code_1(run, image_target, split):
    """Four images make the server fail: accuracy covers the 20 answered, errors name the code."""
    failing = split.images[split.images[:, 0, 0, 0] >= 20]
    assert len(failing) == 4
    with PredictClient(image_target) as client, pytest.raises(PredictError) as refused:
        client.predict("picky", {"images": failing[:1]})
    seed = next(
        seed
        for seed in range(100)
        if _first_number(split, seed) < 20  # else the run would not start
    )

    result = run("--target", image_target, "--model", "picky", "--seed", seed, "--users", 2)

    assert result.exit_code == 1
    assert result.report.status == "complete"
    assert result.report.requests.answered == 20
    assert result.report.requests.failed == 4
    assert result.report.accuracy.n == 20
    assert result.report.latency_ms.n == 20
    assert {kind: error.count for kind, error in result.report.errors.items()} == {
        refused.value.code.name: 4
    }


def _first_number(split, seed: int) -> int:
    return int(split.images[shuffled(len(split), batch=1, seed=seed).order[0], 0, 0, 0])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--model", "nobody"], ["NOT_FOUND", "nobody"], id="unknown-model"),
        pytest.param(["--model", "cat", "--version", "9"], ["NOT_FOUND", "9"], id="version"),
        pytest.param(["--model", "cat", "--users", "0"], ["--users", "'0'"], id="no-users"),
        pytest.param(["--model", "cat", "--duration", "soon"], ["'soon'"], id="duration"),
        pytest.param(
            ["--model", "cat", "--requests", "9", "--duration", "9"], ["not allowed"], id="two-ends"
        ),
        pytest.param(
            ["--model", "cat", "--target", "http://localhost:8500"], ["HOST:PORT"], id="a-url"
        ),
        pytest.param(
            ["--model", "cat", "--target", "localhost:1"],
            ["cannot reach a server at localhost:1", "refused"],
            id="nobody-listens",
        ),
        pytest.param(
            ["--model", "cat", "--data-dir", "/nowhere"], ["/nowhere", "--data-dir"], id="no-data"
        ),
        pytest.param(
            ["--model", "cat", "--output-dir", "/dev/null/here"],
            ["/dev/null/here", "--output-dir"],
            id="output-dir",
        ),
    ],
)
def test_what_cannot_start_ends_in_one_line_and_exit_code_2(run, image_target, flags, words):
    """One line says what was received and what to do; there is no traceback and no report."""
    result = run("--target", image_target, *flags)

    last = result.stderr.splitlines()[-1]
    assert result.exit_code == 2
    assert "error: " in last
    assert "Traceback" not in result.stderr
    assert all(word in last for word in words), last
    assert result.stdout == ""
    assert not result.folder.exists() or not list(result.folder.iterdir())


def test_without_any_data_the_way_out_is_named(image_target, tmp_path):
    """With neither flag nor variable the load generator downloads nothing and says what to set."""
    command = [sys.executable, "-m", "loadtest", "run", "--target", image_target, "--model", "cat"]
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=tmp_path,
    )

    assert finished.returncode == 2
    assert "neither --data-dir nor CIFAR10_DIR is set" in finished.stderr


@pytest.fixture(scope="module")
def poisson_run(run, image_target):
    """A run of 700 Poisson arrivals from two processes with all optional measurements."""
    return run(
        *("--target", image_target, "--model", "cat", "--scenario", "server", "--rate", 300),
        *("--requests", 700, "--slo-ms", 5000, "--processes", 2, "--server-timing", "--floor"),
        *("--gate", "--min-accuracy", 0.01, "--schedule-seed", 4),
    )


def test_poisson_arrivals_from_two_processes_are_one_run(poisson_run):
    """Every request of the schedule is sent once, and its latency counts from its due time."""
    report = poisson_run.report

    assert report.scenario.loop == "open"
    assert report.scenario.offered_rate_per_second == 300
    assert report.client.processes == 2
    assert sorted(poisson_run.raw["request"]) == list(range(700))
    assert report.requests.scheduled == report.requests.sent == 700
    assert report.throughput.offered_requests_per_second == pytest.approx(300, rel=0.15)
    assert (poisson_run.raw["sent_ns"] >= poisson_run.raw["due_ns"]).all()
    assert report.latency_ms.p99 is not None
    # Whether so few requests prove the bound depends on how the machine delays them together.
    assert (report.slo.n, report.slo.over, report.slo.duration) == (700, 0, "short")
    assert sum(window.scheduled for window in report.windows) == 700


def test_what_was_asked_for_is_in_the_report(poisson_run):
    """The report contains the server's timings, the null server's floor, goodput and every gate."""
    report = poisson_run.report

    assert report.server.n == 700
    assert report.server.total_ms.p50 > 0
    assert report.floor.n == 700
    assert report.floor.failed == 0
    assert report.floor.p99_ms > 0
    assert report.goodput.share == 1
    assert [gate.name for gate in report.gates] == [
        "complete",
        "errors",
        "accuracy",
        "valid",
        "slo",
    ]
    # On a busy machine the run may be INVALID; the exit code must match the gates in either case.
    passed = all(gate.passed for gate in report.gates)
    assert poisson_run.exit_code == (0 if passed else 1)


@pytest.mark.parametrize(
    "transport", ["tfs-rest", "kserve-grpc", "kserve-rest", "kserve-rest-binary"]
)
def test_other_transports_measure_the_same_model(run, image_target, split, transport):
    """Over REST and KServe, too, `echo` answers the number drawn into each image."""
    result = run(
        *("--target", image_target, "--model", "echo", "--transport", transport),
        *("--scenario", "multi-stream", "--warmup-requests", 1),
    )

    numbers = split.images[:, 0, 0, 0]
    assert result.exit_code == 0, result.stderr
    assert result.report.scenario.batch == 8
    assert result.raw["answers"].tolist() == numbers[result.raw["image_ids"]].tolist()
    assert result.report.transport == transport


def test_offline_sends_all_images_in_batches(run, image_target):
    """24 images in batches of 5 are four full requests and one of 4, two requests under way."""
    result = run(
        *("--target", image_target, "--model", "echo", "--scenario", "offline"),
        *("--batch", 5, "--in-flight", 2),
    )

    assert result.exit_code == 0, result.stderr
    assert result.report.validity.checks[1].name == "images"
    assert result.report.client.in_flight_max == 2
    answers = result.raw["answers"]
    assert sorted(answers[answers >= 0]) == list(range(24))
    assert (answers == -1).sum() == 1


def test_an_earlier_report_is_a_baseline(run, image_target, poisson_run):
    """A baseline of the same load gives gates; a baseline of another load is refused."""
    flags = ("--target", image_target, "--model", "cat", "--tolerance", 1e6)
    # 100 requests give a p90, but no p99.
    same = ("--scenario", "server", "--rate", 300, "--requests", 100, "--percentile", 90)

    compared = run(*flags, *same, "--baseline", poisson_run.folder)
    refused = run(*flags, "--users", 2, "--baseline", poisson_run.folder)

    assert compared.exit_code == 0, compared.stderr
    names = [gate.name for gate in compared.report.gates]
    assert {"baseline-p50", "baseline-accuracy"} <= set(names)
    assert refused.exit_code == 2
    assert "scenario server in the baseline, users in this run" in refused.stderr


def test_a_missed_gate_is_one_line_and_exit_code_1(run, image_target):
    """A model that always answers 3 misses --min-accuracy 0.9: one line and exit code 1."""
    result = run("--target", image_target, "--model", "cat", "--min-accuracy", 0.9)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("failed: accuracy: top-1 ")
    assert result.report.status == "complete"
