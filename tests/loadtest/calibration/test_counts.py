"""Numbers, codes and accuracy of a run are exactly those that the stub itself counted."""

from collections import Counter

import pytest

N = 1000
USERS = 8


def test_one_percent_of_errors(calibrate):
    """Of 1,000 requests, 10 are answered with INTERNAL: the report has exactly these."""
    measured = calibrate(
        ("--delay-ms", 1, "--fail-every", 100),
        *("--users", USERS, "--requests", N, "--max-error-rate", 0.01),
    )
    report = measured.result.report

    assert measured.codes == {"OK": 990, "INTERNAL": 10}
    assert measured.reported_codes() == measured.codes
    assert report.errors["INTERNAL"].count == report.requests.failed == 10
    assert (report.requests.sent, report.requests.answered) == (N, 990)
    assert (report.accuracy.n, report.accuracy.correct) == (990, 990)
    assert report.latency_ms.n == 990
    assert measured.result.exit_code == 0, measured.result.stderr


def test_half_a_percent_of_wrong_answers(calibrate):
    """Of 1,000 answers 5 are wrong: accuracy and mismatches are exactly the stub's."""
    measured = calibrate(
        ("--delay-ms", 1, "--wrong-every", 200), *("--users", USERS, "--requests", N)
    )
    report = measured.result.report
    right = sum(timed.right for timed in measured.timed)

    assert (len(measured.timed), right) == (N, 995)
    assert (report.accuracy.n, report.accuracy.correct, report.accuracy.top1) == (N, 995, 0.995)
    assert report.requests.wrong == report.mismatches.requests == 5
    assert measured.reported_codes() == {"OK": 995, "WRONG_ANSWER": 5}
    assert measured.result.exit_code == 1


def test_threefold_overload(calibrate, from_samples):
    """An open loop at three times the capacity: each request was sent or missed, none twice."""
    measured = calibrate(
        ("--delay-ms", 10, "--serial"),
        *("--rate", 300, "--requests", 600, "--in-flight", 50, "--max-error-rate", 1),
    )
    report = measured.result.report
    codes = measured.reported_codes()
    compared = from_samples(measured)

    assert measured.codes == {"OK": report.requests.answered}
    assert report.requests.sent == report.requests.answered == len(measured.timed)
    assert codes == Counter(OK=report.requests.sent, MISSED=report.requests.missed)
    assert report.requests.sent + report.requests.missed == 600
    assert report.requests.missed > 300  # of 600, about 50 + 200 are answered
    assert report.accuracy.correct == report.accuracy.n == report.requests.answered
    assert report.scenario.in_flight_cap == report.client.in_flight_max == 50
    # The queue is full most of the time: 50 requests of 10 ms each.
    assert compared.excess(50) >= 0
    assert compared.measured.max() >= 490


def test_a_crash(calibrate):
    """The server ends at request 200: 199 answers, and every other request is UNAVAILABLE."""
    measured = calibrate(
        ("--delay-ms", 5, "--crash-after", 200),
        *("--users", 4, "--requests", 300, "--abort-after-errors", 0),
    )
    report = measured.result.report

    assert measured.codes == {"OK": 199, "UNANSWERED": 4}
    assert measured.reported_codes() == {"OK": 199, "UNAVAILABLE": 101}
    assert report.errors["UNAVAILABLE"].count == report.requests.failed == 101
    assert (report.accuracy.n, report.accuracy.correct) == (199, 199)
    assert len(report.availability.outages) == 1
    assert measured.result.exit_code == 1


def test_a_hang(calibrate):
    """The server answers no more from request 200 on: every later request meets its deadline."""
    measured = calibrate(
        ("--delay-ms", 5, "--hang-after", 200),
        *("--users", 4, "--requests", 204, "--timeout", 1, "--abort-after-errors", 0),
    )
    report = measured.result.report

    assert measured.codes == {"OK": 199, "CANCELLED": 5}
    assert measured.reported_codes() == {"OK": 199, "DEADLINE_EXCEEDED": 5}
    assert (report.requests.answered, report.requests.failed) == (199, 5)
    assert (report.accuracy.n, report.accuracy.correct) == (199, 199)
    hung = measured.result.raw
    waited = (hung["end_ns"] - hung["due_ns"])[hung["codes"][hung["code"]] != "OK"] / 1e9
    assert waited == pytest.approx(1, abs=0.5)
