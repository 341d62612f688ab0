from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import structs
from sample_results.made_up_runs import IMAGES, MS, answer, made_up

from loadtest.figures import manifest
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import Scorer
from loadtest.generator import increments
from loadtest.live.tally import Tally
from loadtest.rows.images import LabelledImages
from loadtest.session.report_builder import FinishedRun
from training.data.cifar10 import Split

SECOND = 1_000 * MS


def record_of(predictions: list[int] | None = None, version: int = 1) -> Record:
    return Record(
        version=version,
        precision="fp32",
        file=None,
        sha256=None,
        bytes=None,
        top1=1.0,
        n=IMAGES,
        same_images=True,
        data_variant=None,
        predictions=RecordedClasses(np.array(predictions or [0] * IMAGES)),
    )


def tally_of(run, now_ns: int = 0) -> Tally:
    return Tally(run.briefing, run.beginning, now_ns)


def add(tally: Tally, run, now_ns: int = 0) -> None:
    for increment in run.increments():
        tally.add(increment, now_ns)


def report_of(run):
    """Return the report of a finished run, as a session builds it."""
    briefing, recording = run.briefing, run.recording()
    scorer = Scorer(briefing.api, briefing.queries, briefing.labels)
    record = briefing.record
    scores = scorer.score(
        recording,
        sent_queries=briefing.sent_queries,
        predictions=record.predictions if isinstance(record, Record) else None,
    )
    now = datetime.now(UTC)
    images = Split(np.zeros((IMAGES, 32, 32, 3), np.uint8), briefing.labels)
    return FinishedRun(
        config=run.config,
        load=run.beginning.load,
        api=briefing.api,
        dataset=LabelledImages(images, None).fit(None, model="simcnn", batch=1),
        agreement=briefing.agreement,
        environment=manifest.describe(),
        recording=recording,
        scores=scores,
        record=record,
        precision=None,
        provider=None,
        floor=None,
        request_bytes=(1, 1),
        started=now,
        finished=now,
        stolen=None,
    ).report()


def good_minute(run) -> None:
    run.send(6_000)


def short(run) -> None:
    run.send(300)


def slow(run) -> None:
    run.send(3_000)
    run.send(3_000, latency_ms=40)


def failing(run) -> None:
    run.send(5_000)
    run.send(20, error="UNAVAILABLE")
    run.miss(30)
    run.send(950)


def late(run) -> None:
    run.send(6_000, late_ms=1.5)


def unreadable(run) -> None:
    run.send(5_900)
    run.send(100, body=answer(1, 2))


def wrong(run) -> None:
    run.send(5_900)
    run.send(100, body=answer(4))


@pytest.mark.parametrize("load", ["open", "closed"])
@pytest.mark.parametrize(
    "happens",
    [good_minute, short, slow, failing, late, unreadable, wrong],
    ids=lambda f: f.__name__,
)
def test_the_last_verdict_is_that_of_the_report(happens, load):
    """All rules have the same result and the same text, with a bound and a record."""
    loads = {"open": {}, "closed": {"rate_per_second": None, "users": 2}}
    run = made_up(record=record_of(), slo_ms=15, **loads[load])
    tally = tally_of(run)
    add(tally, run)
    happens(run)
    add(tally, run)

    report = report_of(run)
    verdict = tally.verdict()
    assert verdict.checks == report.validity.checks
    # The most requests under way are not told during a run, and no rule needs them.
    assert verdict.client == structs.replace(report.client, in_flight_max=0)
    snapshot = tally.snapshot(60 * SECOND)
    assert snapshot.throughput == report.throughput
    assert snapshot.requests.answered == report.requests.answered
    assert snapshot.requests.failed == report.requests.failed
    assert snapshot.requests.missed == report.requests.missed
    assert snapshot.requests.wrong == report.requests.wrong
    assert snapshot.latency_ms.p99 == report.latency_ms.p99
    assert snapshot.accuracy.top1 == report.accuracy.top1
    assert snapshot.differing == report.mismatches.differing


def test_rules_that_need_time_are_open_and_not_broken():
    """After a second the number of requests and the duration are open; nothing is broken."""
    run = made_up(slo_ms=15)
    tally = tally_of(run)
    run.send(100)
    add(tally, run)

    verdict = tally.verdict()
    missing = {check.name for check in verdict.checks if not check.passed}
    assert verdict.failing == []
    assert missing == {"requests", "duration", "slo", "slo-duration"}
    assert missing <= verdict.open


def test_a_bound_that_cannot_be_met_is_broken():
    """Too many late requests break the bound, although the run is short."""
    run = made_up(slo_ms=15)
    tally = tally_of(run)
    for _ in range(200):
        run.send(10)
        run.send(1, latency_ms=50)
    add(tally, run)

    assert [check.name for check in tally.verdict().failing] == ["slo"]


def test_a_step_of_a_search_has_the_rules_of_a_step():
    """A short step takes requests as independent and needs no minimum duration."""
    run = made_up(slo_ms=15, step="probe: 1,000 requests at 100.0/s")
    tally = tally_of(run)
    run.send(900)
    run.send(2, latency_ms=50)  # in a row: correlated
    add(tally, run)

    verdict = tally.verdict()
    names = [check.name for check in verdict.checks]
    assert names == ["wrong-answers", "slo", "client-cpu", "client-lag"]
    assert verdict.failing == []
    assert "correlated" not in verdict.checks[1].detail


def test_answers_of_another_version_are_not_compared():
    """If a second version answers, the report compares nothing, and neither does the view."""
    run = made_up(record=record_of())
    tally = tally_of(run)
    run.send(50, body=answer(4))
    add(tally, run)
    compared = tally.snapshot(SECOND)
    run.send(50, body=answer(4, version=2))
    add(tally, run)
    mixed = tally.snapshot(SECOND)

    assert (compared.compared, compared.differing, compared.requests.wrong) == (True, 50, 50)
    assert (mixed.compared, mixed.differing, mixed.requests.wrong) == (False, 0, 0)
    rules = {check.name: check.passed for check in tally.verdict().checks}
    assert rules["wrong-answers"]


def test_the_last_seconds_have_their_own_figures():
    """After 20 s at 2 ms, 10 s at 30 ms show in the last seconds and hardly in all."""
    run = made_up()
    tally = tally_of(run)
    for quarter in range(80):
        run.send(25)
        add(tally, run, now_ns=(quarter + 1) * SECOND // 4)
    for quarter in range(80, 120):
        run.send(25, latency_ms=30)
        add(tally, run, now_ns=(quarter + 1) * SECOND // 4)

    recent = tally.snapshot(30 * SECOND).recent
    assert recent.seconds == pytest.approx(5, abs=0.3)
    assert recent.answered_per_second == pytest.approx(100)
    assert recent.offered_per_second == pytest.approx(100)
    assert recent.p50 == pytest.approx(30, abs=0.2)
    assert recent.p90 == pytest.approx(30, abs=0.2)
    assert recent.p99 is None  # 500 answers
    assert tally.snapshot(30 * SECOND).latency_ms.p50 == pytest.approx(2, abs=0.2)


def test_a_server_that_hangs_answers_nothing_in_the_last_seconds():
    """While no answer comes, the rate of the last seconds falls to 0."""
    run = made_up()
    tally = tally_of(run)
    run.send(500)
    for quarter in range(20, 48):
        run.recorders[0].sent += 1
        add(tally, run, now_ns=quarter * SECOND // 4)

    snapshot = tally.snapshot(12 * SECOND)
    assert snapshot.recent.answered_per_second == 0
    assert snapshot.recent.offered_per_second == pytest.approx(4, rel=0.1)
    assert snapshot.recent.p50 is None
    assert snapshot.requests.unfinished == 28
    assert snapshot.seconds == 12


def test_accuracy_is_that_of_a_sample_if_too_many_answers_differ(monkeypatch):
    """Answers that are not handed on have latencies; the accuracy says how many it is of."""
    monkeypatch.setattr(increments, "MOST_RESPONSES", 10)
    run = made_up()
    tally = tally_of(run)
    for number in range(100):
        response = answer(0) + b"\x1a\x04" + b"%04d" % number  # an unknown field
        run.send(1, body=response)
    add(tally, run)

    snapshot = tally.snapshot(SECOND)
    assert snapshot.requests.answered == snapshot.latency_ms.n == 100
    assert snapshot.accuracy.n == 20  # 10 of each process
    assert snapshot.unscored == 80


def test_before_the_first_request_there_is_no_time():
    """During the warm-up there are no rows, and the time does not run."""
    run = made_up()
    tally = tally_of(run, now_ns=-3 * SECOND)
    add(tally, run, now_ns=-SECOND)
    before = tally.snapshot(-SECOND)
    run.send(100)
    add(tally, run, now_ns=SECOND)

    # The three seconds of the warm-up do not lower the rate.
    assert tally.snapshot(SECOND).recent.answered_per_second == pytest.approx(100)
    assert before.seconds is None
    assert before.latency_ms.n == 0
    assert tally.verdict().checks
    assert before.recent.answered_per_second == 0
