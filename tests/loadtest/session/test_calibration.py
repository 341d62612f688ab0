"""Calibration: runs against servers whose behaviour is known."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtest.figures import sections
from loadtest.figures.scoring import Scorer
from loadtest.generator.event_loop import run_event_loop
from loadtest.generator.generator import Generator
from loadtest.load.plan import Plan
from loadtest.rows.images import shuffled
from loadtest.transports.grpc_sender import GrpcSender
from loadtest.transports.sender import Lane
from loadtest.transports.tfs_grpc import TfsGrpc

STUB = Path(__file__).parents[2] / "running" / "stub_server.py"


@contextmanager
def stub_server(*flags: object) -> Iterator[str]:
    """Return a function that starts a stub server with given flags and returns its address."""
    process = subprocess.Popen(
        [sys.executable, str(STUB), *map(str, flags)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def recorded_models_dir(split, tmp_path_factory) -> Path:
    """A metrics.json with the stub's right answers as the recorded predictions."""
    numbers = split.images[:, 0, 0, 0] % 10
    metrics = {
        "data": {"variant": "image-folder", "sha256": split.sha256()},
        "variants": {
            "fp32": {
                "n": len(split),
                "top1": float((numbers == split.labels).mean()),
                "predictions": "".join(map(str, numbers)),
            }
        },
    }
    folder = tmp_path_factory.mktemp("stub")
    (folder / "stub" / "1").mkdir(parents=True)
    (folder / "stub" / "1" / "metrics.json").write_text(json.dumps(metrics))
    return folder


class Stopwatch(GrpcSender):
    """A sender that also times each request itself."""

    def __init__(self, target: str) -> None:
        super().__init__(target, TfsGrpc("stub", None).path, connections=1, timeout_seconds=30)
        self.seconds: list[float] = []

    def lane(self, number: int) -> Lane:
        """Return a lane that is timed independently of the load test."""
        send = super().lane(number)

        async def timed(body: bytes) -> bytes:
            begin = time.perf_counter()
            response = await send(body)
            self.seconds.append(time.perf_counter() - begin)
            return response

        return timed


def test_reported_percentiles_are_those_of_an_independent_stopwatch(split):
    """With a 5 ms server no latency is lower, and p50 to p99 are right within 1 ms or 2 %."""
    api, queries = TfsGrpc("stub", None), shuffled(len(split), batch=1, seed=0)
    payloads = [
        api.payload({"images": split.images[queries.image_ids(query)]}) for query in range(24)
    ]
    plan = Plan(
        in_flight=8,
        rate_per_second=None,
        requests=700,
        duration_seconds=None,
        warmup_requests=10,
        schedule_seed=0,
        timeout_seconds=30,
        slo_ms=None,
    )

    async def measure(target: str):
        sender = Stopwatch(target)
        generator = Generator(plan, sender, payloads, connections=1)
        await generator.warm_up()
        sender.seconds.clear()
        recording = await generator.run(time.monotonic_ns())
        await sender.close()
        return recording, sender.seconds

    with stub_server("--delay-ms", 5) as target:
        recording, seconds = run_event_loop(measure(target))
    reported = sections.latency(Scorer(api, queries, split.labels).score(recording).latency_ns)

    assert reported.n == 700
    assert reported.min >= 5
    for percent in (50, 90, 95, 99):
        expected = 1000 * float(np.percentile(seconds, percent, method="inverted_cdf"))
        assert reported.percentile(percent) == pytest.approx(expected, abs=1, rel=0.02)


def test_an_open_loop_shows_a_pause_that_a_closed_loop_hides(run):
    """A pause of 1 s delays all requests due in it, but only one of a waiting caller."""
    pause = ("--delay-ms", 1, "--pause-after", 300)
    flags = ("--model", "stub", "--requests", 700, "--warmup-requests", 1)
    with stub_server(*pause) as target:
        opened = run("--target", target, *flags, "--scenario", "server", "--rate", 200).report
    with stub_server(*pause) as target:
        closed = run("--target", target, *flags, "--scenario", "single-stream").report

    assert opened.scenario.loop == "open"
    assert closed.scenario.loop == "closed"
    assert opened.latency_ms.p99 > 500
    assert closed.latency_ms.p99 < opened.latency_ms.p99


@pytest.fixture
def mixing_run(run, recorded_models_dir) -> Callable[..., object]:
    """Return a function that runs four users against a stub server."""

    def measure(*stub_flags: object):
        with stub_server("--delay-ms", 1, *stub_flags) as target:
            flags = ("--model", "stub", "--users", 4, "--requests", 2500, "--seed", 3)
            return run("--target", target, *flags, "--models-dir", recorded_models_dir)

    return measure


def test_another_requests_answer_once_in_1000_is_caught_and_named(mixing_run, split):
    """If two of 2,500 requests get each other's answers, the error names request and image."""
    result = mixing_run("--mix-every", 1000)

    report = result.report
    assert result.exit_code == 1
    assert report.requests.answered == 2500
    assert report.requests.wrong == report.errors["WRONG_ANSWER"].count == 2
    assert report.mismatches.compared == 2500
    assert report.mismatches.differing == 2
    for example in report.mismatches.examples:
        row = int(np.flatnonzero(result.raw["request"] == example.request)[0])
        assert result.raw["image_ids"][row, 0] == example.image
        assert result.raw["answers"][row, 0] == example.answered != example.recorded
        assert example.recorded == split.images[example.image, 0, 0, 0] % 10
        assert example.label == split.labels[example.image]
        assert example.same_answer_as
    named = report.mismatches.examples[0]
    assert f"request {named.request} (test image {named.image}" in result.stderr
    assert not report.validity.valid


def test_a_server_that_answers_rightly_is_never_accused(mixing_run):
    """The same load with right answers has no mismatch and exit code 0."""
    result = mixing_run()

    assert result.exit_code == 0, result.stderr
    assert result.report.requests.wrong == 0
    assert msgspec.to_builtins(result.report.mismatches) == {
        "compared": 2500,
        "differing": 0,
        "requests": 0,
        "examples": [],
        "near_ties": 0,
    }
    assert result.report.errors == {}
