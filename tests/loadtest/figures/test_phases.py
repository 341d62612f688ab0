"""Phases: each request counts in the part of the shape in which it was due."""

import numpy as np
import pytest

from loadtest.figures import phases
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder
from loadtest.load.scenarios import settle
from loadtest.rows.images import Queries
from loadtest.settings.arguments import parse_run
from loadtest.transports.api import Answer

MS = 1_000_000
SECOND = 1_000_000_000
IMAGES = 4
START = 77 * SECOND


class ClassApi:
    """An API whose answer is the class as a digit."""

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        return Answer(np.full(rows, int(response)), 1, "classes")


def plan(*flags: str):
    config = parse_run(["--target", "localhost:1", "--model", "m", *flags])
    return settle(config, IMAGES).plan


@pytest.fixture
def two_steps():
    """A plan of 10 requests/s for 4 s and 200 requests/s for 4 s."""
    return plan("--shape", "steps:10,200", "--duration", "8")


def recorded(course, outcome):
    """Record every request of a plan; `outcome` gives latency in ms, or a word for no answer."""
    recorder = Recorder()
    arrivals = course.schedule()
    for number, due in zip(arrivals.numbers.tolist(), arrivals.due_ns.tolist(), strict=True):
        found, due_ns = outcome(due / SECOND), START + due
        if found == "missed":
            recorder.miss(number, due_ns)
            continue
        recorder.sent += 1
        if found == "failed":
            recorder.error(number, due_ns, due_ns, due_ns + MS, ("UNAVAILABLE", "no"))
        elif found == "unfinished":
            recorder.give_up(number, due_ns, due_ns)
        else:
            recorder.answer(number, due_ns, due_ns, due_ns + round(found * MS), b"1")
    recording = recorder.recording()
    scorer = Scorer(ClassApi(), Queries(np.arange(IMAGES), 1), np.array([1, 1, 1, 0]))
    return recording, scorer.score(recording, predictions=RecordedClasses(np.ones(4, np.int64)))


def test_counts_are_those_of_the_schedule(two_steps):
    """Each phase has as many requests as the schedule has in its time, answered or not."""
    seconds = two_steps.schedule().due_ns / SECOND
    words = {0.0: "missed", 1.0: "failed", 2.0: "unfinished"}

    first, second = phases.phases(
        *recorded(two_steps, lambda due: words.get(np.floor(due), 2.0)), two_steps, None
    )

    def due(start, end):
        return int(((seconds >= start) & (seconds < end)).sum())

    assert (first.name, second.name) == ("step 1, 10/s", "step 2, 200/s")
    assert (first.spans_seconds, second.spans_seconds) == ([(0, 4)], [(4, 8)])
    assert (first.scheduled, second.scheduled) == (due(0, 4), due(4, 8))
    assert (first.missed, first.failed, first.answered) == (due(0, 1), due(1, 2), due(3, 4))
    assert (second.missed, second.failed, second.answered) == (0, 0, second.scheduled)
    assert second.planned_rate_per_second == 200
    assert (second.goodput_per_second, second.goodput_share) == (None, None)


def test_a_late_answer_counts_where_its_request_was_due(two_steps):
    """Requests of the first step that are answered in the second one are late in the first one."""
    first, second = phases.phases(
        *recorded(two_steps, lambda due: 3000.0 if due < 4 else 5.0), two_steps, 50.0
    )

    assert first.p50_ms == first.max_ms == 3000
    assert (first.goodput_per_second, first.goodput_share) == (0, 0)
    assert second.p99_ms == second.max_ms == 5
    assert second.goodput_share == 1
    assert second.goodput_per_second == second.scheduled / 4


def test_accuracy_and_wrong_answers_are_those_of_the_phase(two_steps):
    """Three of four images have the answered label; the record says the same of all four."""
    _, second = phases.phases(*recorded(two_steps, lambda _: 5.0), two_steps, 50.0)
    recording, scores = recorded(two_steps, lambda _: 5.0)
    asked = recording.numbers[two_steps.schedule().due_ns >= 4 * SECOND] % IMAGES

    assert second.top1 == pytest.approx((asked != 3).mean())
    assert second.wrong == 0
    assert not scores.wrong.any()


def test_bursts_are_one_phase_and_the_time_between_them_another():
    """All bursts together have the requests of their times."""
    waves = plan("--shape", "bursts:20,300,1,4", "--duration", "12")

    calm, burst = phases.phases(*recorded(waves, lambda _: 2.0), waves, None)

    seconds = waves.schedule().due_ns / SECOND
    inside = sum(int(((seconds >= s) & (seconds < s + 1)).sum()) for s in (1.5, 5.5, 9.5))
    assert burst.spans_seconds == [(1.5, 2.5), (5.5, 6.5), (9.5, 10.5)]
    assert (burst.scheduled, calm.scheduled) == (inside, len(seconds) - inside)


def test_a_steady_load_has_no_phases():
    """Poisson arrivals at one rate give no phases and no groups of alike times."""
    steady = plan("--rate", "50", "--duration", "2")
    run = recorded(steady, lambda _: 2.0)

    assert phases.phases(*run, steady, None) == []
    assert phases.alike(*run, steady) == []


def test_alike_times_have_the_latencies_of_their_requests(two_steps):
    """The halves of the second step have 3 ms and 9 ms."""
    run = recorded(two_steps, lambda due: 3.0 if due < 6 else 9.0)

    found = dict(phases.alike(*run, two_steps))

    halves = found["the halves of step 2, 200/s"]
    assert [set((half / MS).tolist()) for half in halves] == [{3.0}, {9.0}]
    assert sum(map(len, halves)) == int((two_steps.schedule().due_ns >= 4 * SECOND).sum())
