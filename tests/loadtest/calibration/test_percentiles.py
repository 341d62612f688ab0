"""Percentiles of a run are those of the stub's own stopwatch, as near as a plain client's are.

The two stopwatches time the same requests, so a stub that is late on a busy machine makes no
difference. What remains is the time between the two processes, which is measured by a plain client
right after each run. Another program may still delay one of them for some milliseconds: of three
rounds one must agree. A clock that is wrong is wrong in all of them.
"""

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROUNDS = 3
N = 700
USERS = 4


@pytest.fixture
def agree(calibrate, plain, from_samples, disagreements):
    """Return a function that compares rounds of runs and of plain clients until one agrees."""

    def compare(stub_flags: tuple[object, ...], *run_flags: object, client_flags: tuple = ()):
        found = []
        for _ in range(ROUNDS):
            measured = calibrate(stub_flags, "--requests", N, *run_flags)
            report = measured.result.report
            assert measured.codes == {"OK": N}
            assert report.requests.answered == report.accuracy.correct == N
            run = from_samples(measured)
            for percent in (50, 90, 95, 99):
                value = np.percentile(run.measured, percent, method="inverted_cdf")
                assert report.latency_ms.percentile(percent) == pytest.approx(value, rel=1e-6)
            due_ns = np.sort(measured.result.raw["due_ns"]) if "--rate" in run_flags else None
            beside = plain(stub_flags, N, "--users", USERS, *client_flags, due_ns=due_ns)
            wrong = disagreements(run, beside)
            if not wrong:
                return measured
            found.append("; ".join(wrong))
        pytest.fail("\n".join(found))

    return compare


def test_constant_delays(agree):
    """Four callers of a server that takes 20 ms."""
    agree(("--delay-ms", 20), "--users", USERS)


def test_lognormal_delays(agree):
    """Four callers of a server with a long tail: its p99 is three times its median of 20 ms."""
    measured = agree(("--delay-ms", 20, "--sigma", 0.5), "--users", USERS)

    report = measured.result.report
    assert report.latency_ms.p99 > 2.5 * report.latency_ms.p50


def test_a_stall(agree):
    """A server stops for 1 s under 100 requests/s: those that were due in it count in full."""
    measured = agree(("--delay-ms", 50, "--pause-after", 300), *("--rate", 100, "--in-flight", 400))

    report = measured.result.report
    assert 700 < report.latency_ms.p99 < 1100
    assert report.requests.missed == 0


def test_tls(agree, authority, tmp_path):
    """Four callers of a server that takes 20 ms, over TLS."""
    pair = authority.issue("server")
    for name, text in (
        ("ca", authority.certificate),
        ("certificate", pair.certificate),
        ("key", pair.key),
    ):
        (tmp_path / name).write_text(text)
    ca = tmp_path / "ca"
    measured = agree(
        ("--delay-ms", 20, "--certificate", tmp_path / "certificate", "--key", tmp_path / "key"),
        *("--users", USERS, "--ca", ca),
        client_flags=("--ca", ca),
    )

    assert measured.result.report.tls


def test_threefold_overload(calibrate, plain, from_samples, disagreements):
    """At three times the capacity latency grows with the queue, and counts from the due time."""
    stub_flags = ("--delay-ms", 10, "--serial")
    found = []
    for _ in range(ROUNDS):
        measured = calibrate(stub_flags, "--rate", 300, "--requests", N, "--in-flight", N)
        run = from_samples(measured)
        due_ns = np.sort(measured.result.raw["due_ns"])
        wrong = disagreements(run, plain(stub_flags, N, due_ns=due_ns))
        assert measured.codes == {"OK": N}
        assert measured.result.report.latency_ms.p50 > 1000
        if not wrong:
            return
        found.append("; ".join(wrong))
    pytest.fail("\n".join(found))
