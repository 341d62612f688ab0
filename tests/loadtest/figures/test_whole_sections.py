"""Whole sections of the report, for runs whose figures can be worked out by hand."""

import numpy as np
import pytest
from msgspec import to_builtins

from loadtest.figures import bounds, sections
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import Scorer, Scores
from loadtest.generator.recording import Recorder, Recording
from loadtest.rows.images import Queries
from loadtest.transports.api import Answer
from training.data.cifar10 import CLASS_NAMES

MS = 1_000_000
SECOND = 1_000_000_000
RECORD = Record(
    version=7,
    precision="int8",
    file="model.int8.onnx",
    sha256="ab",
    bytes=3,
    top1=0.5,
    n=8,
    same_images=False,
    data_variant="image-folder",
    predictions=None,
)


class ClassApi:
    """An API whose answer is the class as a digit."""

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        return Answer(np.full(rows, int(response)), 1, "classes")


def scored(
    recorder: Recorder, labels: list[int], predictions: np.ndarray | None = None, **generator
) -> tuple[Recording, Scores]:
    recording = recorder.recording(**generator)
    scorer = Scorer(ClassApi(), Queries(np.arange(len(labels)), 1), np.array(labels))
    return recording, scorer.score(
        recording, predictions=None if predictions is None else RecordedClasses(predictions)
    )


def thousand() -> Recorder:
    """Return a run of 1,000 requests due in one second; request i is answered after i + 1 ms."""
    recorder = Recorder()
    for number in range(1000):
        due_ns = 5 * SECOND + number * MS
        recorder.sent += 1
        recorder.answer(number, due_ns, due_ns + MS, due_ns + (number + 1) * MS, b"0")
    return recorder


def test_all_of_the_latency_section():
    """The section of latencies from 1 to 100,000 ms has these keys and values and no others."""
    latency = to_builtins(sections.latency(np.arange(1, 100_001) * MS))

    del latency["histogram"], latency["definition"]
    needed = latency.pop("requests_needed")
    assert latency == {
        "n": 100_000,
        "min": 1,
        "mean": 50_000.5,
        "max": 100_000,
        "p50": 50_000,
        "p90": 90_000,
        "p95": 95_000,
        "p97": 97_000,
        "p99": 99_000,
        "p99_9": 99_900,
    }
    assert list(needed) == ["p50", "p90", "p95", "p97", "p99", "p99_9"]
    assert sorted(needed.values()) == list(needed.values())


def test_all_of_the_throughput_section():
    """1,000 requests are offered at 1,000/s; the window ends with the last answer, at 1.999 s."""
    recording, scores = scored(thousand(), [0] * 1000)

    assert to_builtins(sections.throughput(recording, scores, open_loop=True)) == {
        "window_seconds": 1.999,
        "offered_requests_per_second": pytest.approx(1000),
        "requests_per_second": pytest.approx(1000 / 1.999),
        "images_per_second": pytest.approx(1000 / 1.999),
    }


def test_requests_that_were_missed_were_offered_all_the_same():
    """The offered rate counts missed requests: three requests half a second apart are 2/s."""
    recorder = Recorder()
    recorder.sent += 2
    for number in range(2):
        due_ns = number * SECOND // 2
        recorder.answer(number, due_ns, due_ns, due_ns + MS, b"0")
    recorder.miss(2, SECOND)
    recording, scores = scored(recorder, [0, 0])

    offered = sections.throughput(recording, scores, open_loop=True)

    assert offered.offered_requests_per_second == 2


def test_all_of_the_goodput_section():
    """Of 1,000 requests 500 are answered in time, and 250 of them correctly."""
    recording, scores = scored(thousand(), [0] * 250 + [1] * 750)

    assert to_builtins(bounds.goodput(recording, scores, 500)) == {
        "slo_ms": 500,
        "per_second": pytest.approx(500 / 1.999),
        "share": 0.5,
        "correct_per_second": pytest.approx(250 / 1.999),
        "correct_share": 0.25,
    }


def test_a_bound_is_kept_by_what_takes_exactly_so_long():
    """The request that took 500 ms is in time at a bound of 500 ms."""
    recording, scores = scored(thousand(), [0] * 1000)

    assert bounds.slo(recording, scores, 500, 50).over == 500
    assert bounds.slo(recording, scores, 499.9, 50).over == 501


def test_a_bound_is_met_up_to_what_is_allowed():
    """The bound is met with as many late requests as the percentile allows, not with one more."""
    recording, scores = scored(thousand(), [0] * 1000)
    allowed = bounds.slo(recording, scores, 1000, 90).over_allowed

    assert allowed > 0
    assert bounds.slo(recording, scores, 1000 - allowed, 90).met
    assert not bounds.slo(recording, scores, 1000 - allowed - 1, 90).met


def test_all_of_the_accuracy_section():
    """Three of four answers are correct; the record's accuracy is compared with that of the run."""
    recorder = Recorder()
    for number in range(4):
        recorder.answer(number, 0, 0, MS, b"0")
    _, scores = scored(recorder, [0, 0, 0, 9])

    accuracy = to_builtins(sections.accuracy(scores, RECORD))

    low, high = accuracy.pop("wilson_95")
    assert 0 < low < 0.75 < high < 1
    confusion = accuracy.pop("confusion")
    assert np.shape(confusion) == (10, 11)
    assert (confusion[0][0], confusion[9][0], np.sum(confusion)) == (3, 1, 4)
    assert accuracy == {
        "n": 4,
        "correct": 3,
        "top1": 0.75,
        "distinct_images": 4,
        "per_class": dict.fromkeys(CLASS_NAMES) | {"airplane": 1.0, "truck": 0.0},
        "recorded": {
            "version": 7,
            "precision": "int8",
            "artefact_sha256": "ab",
            "top1": 0.5,
            "n": 8,
            "same_images": False,
            "difference_points": 25,
        },
        "recorded_missing": None,
    }


def test_a_record_that_could_not_be_had_is_missing_with_its_reason():
    """If there is no record, `recorded` is None and `recorded_missing` is the reason."""
    _, scores = scored(Recorder(), [0])

    accuracy = sections.accuracy(scores, "no metrics.json")

    assert (accuracy.recorded, accuracy.recorded_missing) == (None, "no metrics.json")


def test_all_of_a_window():
    """A second of 1,000 requests has four windows of 250, which are too few for a p99."""
    recording, scores = scored(thousand(), [0] * 1000)

    assert to_builtins(sections.windows(recording, scores)) == [
        {
            "t_seconds": 0.25 * number,
            "scheduled": 250,
            "answered": 250,
            "errors": 0,
            "p50_ms": 250 * number + 125,
            "p99_ms": None,
            "max_ms": 250 * (number + 1),
            "seconds": 0.25,
        }
        for number in range(4)
    ]


def test_all_of_the_floor_section():
    """The failed one of 1,001 requests counts as failed, and its duration is no latency."""
    recorder = thousand()
    recorder.sent += 1
    recorder.error(1000, 5 * SECOND, 5 * SECOND, 9 * SECOND, ("UNAVAILABLE", "gone"))
    recording, _ = scored(recorder, [0] * 1001, cpu_seconds=2.0)

    assert to_builtins(sections.floor(recording)) == {
        "n": 1000,
        "failed": 1,
        "p50_ms": 500,
        "p99_ms": 990,
        "max_ms": 1000,
        "requests_per_second": 250,
        "client_cpu_us_per_request": pytest.approx(2e6 / 1001),
        "client_cpu_share": 0.5,
    }


def test_all_of_the_client_section():
    """All requests are sent 1 ms late, and the client uses 2 s of CPU in 1.999 s."""
    recording, _ = scored(thousand(), [0] * 1000, cpu_seconds=2.0, in_flight_max=4)

    assert to_builtins(sections.client(recording, open_loop=True)) == {
        "processes": 1,
        "lag_ms": {"p50": 1, "p99": 1, "max": 1},
        "cpu_seconds": 2,
        "cpu_share": pytest.approx(2 / 1.999),
        "cpu_us_per_request": pytest.approx(2000),
        "in_flight_max": 4,
    }


def test_all_of_the_servers_times():
    """Serialising is the total minus the other stages, and at least 0."""
    recorder = thousand()
    recorder._timings = ["queue;dur=1.0, compute;dur=2.0, total;dur=4.5"] * 999 + [
        "queue;dur=3.0, compute;dur=2.0, total;dur=4.0"
    ]
    recording, scores = scored(recorder, [0] * 1000)

    assert to_builtins(sections.server_times(recording, scores)) == {
        "n": 1000,
        "queue_ms": {"p50": 1, "p99": 1},
        "compute_ms": {"p50": 2, "p99": 2},
        "serialise_ms": {"p50": 1.5, "p99": 1.5},
        "total_ms": {"p50": 4.5, "p99": 4.5},
    }


def test_mismatches_are_counted_in_all_and_shown_in_part():
    """All 30 wrong answers are counted; 20 are shown with their time since the first request."""
    recorder = Recorder()
    for number in range(30):
        due_ns = 3 * SECOND + number * SECOND
        recorder.answer(number, due_ns, due_ns, due_ns + MS, b"1")
    predictions = np.zeros(30, np.int64)
    recording, scores = scored(recorder, [0] * 30, predictions)

    found = sections.mismatches(recording, scores)

    assert (found.compared, found.differing, found.requests) == (30, 30, 30)
    assert [each.sent_seconds for each in found.examples] == list(range(20))
    assert sections.mismatches(*scored(recorder, [0] * 30)) is None


def test_errors_come_most_frequent_first():
    """Kinds of errors are sorted by count, each with its first message."""
    recorder = Recorder()
    for number, kind in enumerate(["UNAVAILABLE", "INTERNAL", "INTERNAL"]):
        recorder.error(number, 0, 0, MS, (kind, f"message {number}"))
    _, scores = scored(recorder, [0] * 3)

    errors = sections.errors(scores, None)

    assert list(to_builtins(errors).items()) == [
        ("INTERNAL", {"count": 2, "first_message": "message 1"}),
        ("UNAVAILABLE", {"count": 1, "first_message": "message 0"}),
    ]


def test_versions_are_keys_of_text():
    """The version numbers are strings, as keys in JSON must be; None becomes "unknown"."""
    assert sections.answers_by_version({3: 5, None: 2}) == {"3": 5, "unknown": 2}


def test_a_request_due_where_a_third_ends_is_in_the_next():
    """Of requests due at 0, 1, 2 and 3 s, the thirds have those of 0, of 1, and of 2 and 3 s."""
    recorder = Recorder()
    for number in range(4):
        due_ns = number * SECOND
        recorder.answer(number, due_ns, due_ns, due_ns + (number + 1) * MS, b"0")
    recording, scores = scored(recorder, [0] * 4)

    thirds = sections.thirds(recording, scores)

    assert [third.tolist() for third in thirds] == [[MS], [2 * MS], [3 * MS, 4 * MS]]
