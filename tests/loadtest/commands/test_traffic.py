"""End-to-end tests of shapes and replays against a real server."""

import json

import numpy as np
import pytest

from loadtest.load import shapes
from loadtest.settings.shape_text import parse

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def stepped(run, image_target):
    """40 requests/s for a second, then 160 requests/s, from two processes."""
    return run(
        *("--target", image_target, "--model", "echo", "--shape", "steps:40,160"),
        *("--duration", 2, "--schedule-seed", 5, "--processes", 2, "--slo-ms", 5000),
    )


def test_a_shape_is_sent_as_it_was_drawn(stepped):
    """All requests of the schedule are due at their times, to the nanosecond, and answered."""
    drawn = shapes.build(parse("steps:40,160"), 2).arrivals(5)
    order = np.argsort(stepped.raw["request"])

    assert stepped.exit_code == 0, stepped.stderr
    assert stepped.raw["request"][order].tolist() == drawn.numbers.tolist()
    assert stepped.raw["due_ns"][order].tolist() == (drawn.due_ns - drawn.due_ns[0]).tolist()
    assert stepped.report.requests.answered == len(drawn)


def test_the_phases_have_the_counts_of_the_schedule(stepped):
    """Requests by phase are those of the schedule, exactly, with their latencies and answers."""
    shape = shapes.build(parse("steps:40,160"), 2)
    drawn = shape.arrivals(5)
    counts = np.bincount(shape.stretch_of(drawn.due_ns / 1e9)).tolist()
    found = stepped.report.phases
    last = stepped.raw["latency_ns"][stepped.raw["request"] >= counts[0]]

    assert [phase.scheduled for phase in found] == counts
    assert [phase.answered for phase in found] == counts
    assert found[1].max_ms == last.max() / 1e6
    assert found[1].goodput_per_second == counts[1]
    assert stepped.report.scenario.shape == "steps of 40, 160 requests/s, 1 s each"
    assert stepped.report.scenario.offered_rate_per_second == 100


def test_the_pages_have_the_phases_and_the_rules(stepped):
    """The terminal, Markdown and HTML show each phase and which rules were replaced."""
    page = (stepped.folder / "report.md").read_text()
    html = (stepped.folder / "report.html").read_text()

    for text in (page, html):
        assert "step 2, 160/s" in text
        assert "duration is replaced by schedule" in text
    assert "Offered rate over time: echo" in html
    assert "step 2, 160/s: " in stepped.stdout


def test_a_replay_sends_the_requests_of_the_file(run, image_target, tmp_path):
    """Due times are the file's over the speed, and each request has its images."""
    file = tmp_path / "day.jsonl"
    times = [50.0, 50.2, 50.2, 51.0]
    images = [[3, 4], [5, 6], [3, 4], [23, 0]]
    rows = [
        {"time": time, "model": "echo", "images": asked}
        for time, asked in zip(times, images, strict=True)
    ]
    rows.append({"time": 49.0, "model": "cat", "images": [1, 1]})
    file.write_text("\n".join(map(json.dumps, rows)))

    result = run("--target", image_target, "--model", "echo", "--replay", file, "--speed", 4)

    order = np.argsort(result.raw["request"])
    assert result.exit_code == 0, result.stderr
    assert result.raw["image_ids"][order].tolist() == images
    assert result.raw["due_ns"][order].tolist() == [
        round((time - times[0]) * SECOND / 4) for time in times
    ]
    assert result.report.scenario.batch == 2
    assert result.report.scenario.replay.left_out == 1
    assert result.report.requests.answered == 4
    assert "at 4 times their speed" in result.report.scenario.description


def test_an_earlier_run_is_replayed_with_its_images(run, image_target, stepped):
    """The samples of a run, read from its folder, give the same images at the scaled times."""
    result = run("--target", image_target, "--model", "echo", "--replay", stepped.folder)

    before, after = stepped.raw, result.raw
    ours, theirs = np.argsort(after["due_ns"], kind="stable"), np.argsort(before["due_ns"])
    assert result.exit_code == 0, result.stderr
    assert after["due_ns"][ours].tolist() == before["due_ns"][theirs].tolist()
    assert after["image_ids"][ours].tolist() == before["image_ids"][theirs].tolist()
    assert after["answers"][ours].tolist() == before["answers"][theirs].tolist()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--shape", "ramp:1..2"], "needs --duration", id="no-duration"),
        pytest.param(["--replay", "nothing.csv"], "cannot read recorded traffic", id="no-file"),
        pytest.param(["--shape", "ramp:1"], "expected ramp:FROM..TO", id="wrong-shape"),
    ],
)
def test_a_run_that_cannot_start_says_why_in_one_line(run, image_target, flags, words):
    """Usage errors are one line and exit code 2."""
    result = run("--target", image_target, "--model", "echo", *flags)

    assert result.exit_code == 2
    assert words in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 1
