import time

import msgspec
import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from sample_results.scored_recordings import MS, DigitApi, latencies, scored

from loadtest.figures import bounds, sections
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder
from loadtest.rows.images import Queries
from training.data.cifar10 import CLASS_NAMES

SECOND = 1_000_000_000


def record(predictions: np.ndarray, labels: np.ndarray) -> Record:
    return Record(
        version=1,
        precision="fp32",
        file="model.onnx",
        sha256="ab",
        bytes=3,
        top1=float((predictions == labels).mean()),
        n=len(labels),
        same_images=True,
        data_variant="image-folder",
        predictions=RecordedClasses(predictions),
    )


def test_latency_keeps_what_locust_would_round_away():
    """Percentiles keep nanoseconds: a latency of 1.234 ms is reported as 1.234 ms."""
    section = sections.latency(np.full(11, 1_234_000))

    assert section.p50 == section.mean == section.min == section.max == 1.234
    assert section.p90 is None


@pytest.mark.parametrize(
    ("n", "p99", "p99_9"), [(661, False, False), (662, True, False), (6636, True, True)]
)
def test_percentiles_of_too_few_requests_are_not_given(n, p99, p99_9):
    """p99 is None below 662 requests, and p99.9 below 6,636."""
    section = sections.latency(np.arange(1, n + 1))

    assert (section.p99 is not None) == p99
    assert (section.p99_9 is not None) == p99_9
    assert section.requests_needed["p99_9"] == 6636


def test_the_histogram_holds_every_latency():
    """The decoded histogram has every latency in microseconds, within its three digits."""
    latency_ns = np.random.default_rng(0).lognormal(14, 1, 5000).astype(np.int64)

    decoded = HdrHistogram.decode(sections.latency(latency_ns).histogram)

    assert decoded.get_total_count() == 5000
    for percent in (50, 90, 99):
        exact_us = np.percentile(latency_ns, percent, method="inverted_cdf") / 1000
        assert decoded.get_value_at_percentile(percent) == pytest.approx(exact_us, rel=2e-3)


def test_latencies_outside_of_the_histogram_are_recorded_at_its_ends():
    """Latencies of half a microsecond and of two hours are recorded at the ends of the range."""
    encoded = sections.latency(np.array([500, 7_200 * SECOND])).histogram

    decoded = HdrHistogram.decode(encoded)
    assert decoded.get_total_count() == 2
    assert decoded.get_min_value() == 1
    assert decoded.get_max_value() == pytest.approx(3_600_000_000, rel=1e-3)


def test_the_window_runs_from_the_first_due_request_to_the_last_end():
    """Three requests 100 ms apart, the first of which takes 950 ms, give a window of 0.95 s."""
    recording, scores = scored(latencies(950, 10, 20), np.zeros(3, np.int64))

    throughput = sections.throughput(recording, scores, open_loop=True)

    assert throughput.window_seconds == pytest.approx(0.95)
    assert throughput.requests_per_second == pytest.approx(3 / 0.95)
    assert throughput.offered_requests_per_second == pytest.approx(10)


def test_a_closed_loop_offers_no_rate():
    """The offered rate of a closed loop is None."""
    recording, scores = scored(latencies(1, 1), np.zeros(2, np.int64))

    assert (
        sections.throughput(recording, scores, open_loop=False).offered_requests_per_second is None
    )


def test_an_empty_run_reports_nothing_rather_than_zero():
    """Before the first answer accuracy, latency and throughput are None."""
    recording, scores = scored(Recorder(), np.arange(10))

    assert sections.latency(scores.latency_ns).max is None
    assert sections.latency(scores.latency_ns).histogram is None
    assert sections.throughput(recording, scores, open_loop=True).requests_per_second is None
    assert sections.accuracy(scores, None).top1 is None
    assert bounds.goodput(recording, scores, 5).share is None
    assert sections.windows(recording, scores) == []
    assert sections.client(recording, open_loop=True).cpu_us_per_request is None


def test_everything_that_is_not_a_good_answer_in_time_is_over_the_bound():
    """Over the bound: two late requests (one wrong), a wrong, a failed and a missed one of 701."""
    recorder = latencies(*[1] * 697, 30, 31)
    recorder.sent += 1
    recorder.error(699, 0, 0, SECOND, ("UNAVAILABLE", "gone"))
    recorder.miss(9, 5)
    predictions = np.zeros(699, np.int64)
    predictions[0] = predictions[698] = 1  # one in time, one late anyway
    recording, scores = scored(recorder, np.zeros(699, np.int64), predictions)

    slo = bounds.slo(recording, scores, 10, 99)
    goodput = bounds.goodput(recording, scores, 10)

    assert msgspec.to_builtins(slo) == {
        "limit_ms": 10,
        "percentile": 99,
        "n": 701,
        "over": 5,
        "over_allowed": None,  # three of the five follow each other: the 701 count as fewer
        "met": False,
        "inflation": pytest.approx(2.70, abs=0.01),
        "duration": "quick",
    }
    assert goodput.share == 696 / 701
    assert goodput.per_second == pytest.approx(696 / sections.window_seconds(recording))


def test_too_few_requests_never_meet_a_bound():
    """458 fast answers do not meet a bound on p99, 459 do."""
    for n, met in ((458, False), (459, True)):
        recording, scores = scored(latencies(*[1] * n), np.zeros(n, np.int64))
        assert bounds.slo(recording, scores, 10, 99).met == met


def test_goodput_of_right_answers_counts_only_those():
    """Of ten answers in time, four cats answered as airplanes do not count as correct."""
    labels = np.array([0] * 6 + [3] * 4)
    recording, scores = scored(latencies(*[1] * 10), labels)

    goodput = bounds.goodput(recording, scores, 10)

    assert (goodput.share, goodput.correct_share) == (1.0, 0.6)


def test_accuracy_by_class_and_confusion():
    """Six airplanes answered right and four cats answered as airplanes give these accuracies."""
    labels = np.array([0] * 6 + [3] * 4)
    _, scores = scored(latencies(*[1] * 10), labels)

    accuracy = sections.accuracy(scores, None)

    assert (accuracy.correct, accuracy.n, accuracy.top1) == (6, 10, 0.6)
    assert accuracy.per_class == dict.fromkeys(CLASS_NAMES) | {"airplane": 1.0, "cat": 0.0}
    assert accuracy.confusion[0][0] == 6
    assert accuracy.confusion[3][0] == 4
    assert np.sum(accuracy.confusion) == 10


def test_a_class_that_does_not_exist_has_its_own_column():
    """An answer of 23 is counted in the last column of the confusion matrix."""
    labels = np.zeros(1, np.int64)
    recording = latencies(1).recording()
    scorer = Scorer(DigitApi(), Queries(np.arange(1), 1), labels)
    scores = scorer.score(recording)
    scores.classes[:] = 23

    assert sections.accuracy(scores, None).confusion[0] == [0] * 10 + [1]


def test_wilson_interval_of_a_published_example():
    """81 of 263: 0.2553 to 0.3662 (R. G. Newcombe, Statistics in Medicine 17, 1998, table I)."""
    labels = np.array([0] * 81 + [1] * 182)
    _, scores = scored(latencies(*[1] * 263), labels)

    low, high = sections.accuracy(scores, None).wilson_95

    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_images_sent_again_do_not_narrow_the_interval():
    """If each image is sent ten times, the interval counts each image once."""
    labels = np.array([0] * 15 + [1] * 5)
    _, once = scored(latencies(*[1] * 20), labels)
    _, often = scored(latencies(*[1] * 200), labels)

    first, second = sections.accuracy(once, None), sections.accuracy(often, None)

    assert (second.n, second.distinct_images) == (200, 20)
    assert second.top1 == first.top1
    assert second.wilson_95 == first.wilson_95


def test_a_mismatch_names_request_image_and_where_the_answer_may_come_from():
    """Request 1 got the bytes that were the right answer to request 2 at the same time."""
    predictions = np.array([4, 5, 6, 6])
    recorder = Recorder()
    for number, answer in enumerate((b"4", b"6 of 2", b"6 of 2", b"6 of 3")):
        recorder.sent += 1
        recorder.answer(number, number * MS, number * MS, 10 * MS + number, answer)
    recording, scores = scored(recorder, np.zeros(4, np.int64), predictions)

    found = sections.mismatches(recording, scores)

    assert (found.compared, found.differing, found.requests) == (4, 1, 1)
    assert msgspec.to_builtins(found.examples) == [
        {
            "request": 1,
            "image": 1,
            "row": 0,
            "answered": 6,
            "recorded": 5,
            "label": 0,
            "sent_seconds": 0.001,
            "same_answer_as": [2],
        }
    ]
    assert msgspec.to_builtins(sections.errors(scores, found)["WRONG_ANSWER"]) == {
        "count": 1,
        "first_message": (
            "request 1 (test image 1 in row 0, sent at 0.001 s) was answered 6, recorded is 5; "
            "the same bytes were the right answer to request 2 at that time"
        ),
    }


def test_the_difference_from_the_record_is_over_the_images_that_were_answered():
    """Record and run both have two of the three answered images right: the difference is 0."""
    labels = np.array([0, 0, 3, 3])
    predictions = np.array([0, 0, 0, 3])
    _, scores = scored(latencies(1, 1, 1), labels, predictions)

    recorded = sections.accuracy(scores, record(predictions, labels)).recorded

    assert recorded.top1 == 0.75
    assert recorded.difference_points == pytest.approx(0)


def test_windows_show_in_which_second_a_request_was_due():
    """A pause of 1.5 s shows in the seconds in which the delayed requests were due."""
    recorder = latencies(*[1] * 11, 1500, spacing_ms=100)
    recorder.miss(12, int(1.9 * SECOND))
    recording, scores = scored(recorder, np.zeros(12, np.int64))

    first, second = sections.windows(recording, scores)

    assert (first.t_seconds, first.scheduled, first.answered) == (0, 10, 10)
    assert (first.max_ms, first.p50_ms, first.errors) == (1, None, 0)
    assert (second.t_seconds, second.scheduled, second.answered) == (1, 3, 2)
    assert (second.max_ms, second.errors) == (1500, 1)


@pytest.mark.parametrize(
    ("requests", "spacing_ms", "seconds"),
    [
        pytest.param(3000, 5, 0.25, id="15 s"),
        pytest.param(3100, 5, 0.5, id="longer than 60 quarters"),
        pytest.param(3000, 10, 0.5, id="30 s"),
        pytest.param(3050, 10, 1, id="longer than 60 halves"),
        pytest.param(200, 12, 0.5, id="too few answers in a quarter of a second"),
        pytest.param(80, 100, 1, id="too few answers in half a second"),
        pytest.param(7000, 10, 1, id="70 s"),
    ],
)
def test_short_runs_have_narrower_windows(requests, spacing_ms, seconds):
    """At most 60 windows of a quarter or half a second, each wide enough for a median."""
    recording, scores = scored(
        latencies(*[1] * requests, spacing_ms=spacing_ms), np.zeros(requests, np.int64)
    )

    windows = sections.windows(recording, scores)

    assert {window.seconds for window in windows} == {seconds}
    assert [window.t_seconds for window in windows[:3]] == [0, seconds, 2 * seconds]
    assert sum(window.scheduled for window in windows) == requests
    assert seconds == 1 or len(windows) <= 60


def test_windows_count_failures_and_wrong_answers():
    """A second with a right, a wrong and a failed request has two errors."""
    recorder = latencies(1, 1)
    recorder.error(2, 0, 0, 5, ("UNAVAILABLE", ""))
    recording, scores = scored(recorder, np.zeros(3, np.int64), np.array([0, 7, 0]))

    (window,) = sections.windows(recording, scores)

    assert (window.scheduled, window.answered, window.errors) == (3, 2, 2)


@pytest.mark.parametrize(
    "origin_ns",
    [0, time.monotonic_ns(), 400 * 24 * 3600 * SECOND],
    ids=["zero", "now", "after 400 days"],
)
def test_thirds_are_of_the_time_over_which_requests_were_due(origin_ns):
    """The thirds divide the due times, for any start of the clock, such as 400 days ago.

    Ten requests a second for three seconds, then thirty in a burst. The requests of each second
    have the same latency, and answers come in another order than their due times.
    """
    due_ms = [*range(50, 3000, 100), *[3000] * 30]
    expected_ms = [5000 if due < 1000 else 70 if due < 2000 else 9 for due in due_ms]
    ended = sorted(zip(due_ms, expected_ms, strict=True), key=sum)
    recorder = Recorder()
    for number, (due, latency) in enumerate(ended):
        due_ns = origin_ns + due * MS
        recorder.answer(number, due_ns, due_ns, due_ns + latency * MS, b"0")
        recorder.error(number, due_ns, due_ns, due_ns + 1, ("UNAVAILABLE", ""))
    recording, scores = scored(recorder, np.zeros(len(ended), np.int64))

    thirds = sections.thirds(recording, scores)

    assert [third.tolist() for third in thirds] == [[5000 * MS] * 10, [70 * MS] * 10, [9 * MS] * 40]


def test_the_thirds_of_no_answer_are_empty():
    """A run without answers has three empty thirds."""
    recording, scores = scored(Recorder(), np.arange(10))

    assert [len(third) for third in sections.thirds(recording, scores)] == [0, 0, 0]


def test_lag_is_what_the_load_generator_was_late():
    """Requests sent 2 ms after their due time have a lag of 2 ms; a closed loop has no lag."""
    recording, _ = scored(
        latencies(*[5] * 700, lag_ms=2), np.zeros(700, np.int64), cpu_seconds=7.0, in_flight_max=3
    )

    client = sections.client(recording, open_loop=True)

    assert msgspec.to_builtins(client.lag_ms) == {"p50": 2, "p99": 2, "max": 2}
    assert client.cpu_us_per_request == pytest.approx(10_000)
    assert client.cpu_share == pytest.approx(7 / sections.window_seconds(recording))
    assert client.in_flight_max == 3
    assert sections.client(recording, open_loop=False).lag_ms is None


def test_the_servers_own_times_are_read_from_its_words():
    """Queue and compute times are read from the text; serialise is the rest of the total."""
    recorder = latencies(*[5] * 11)
    recorder._timings = ["queue;dur=0.5, compute;dur=2.0, total;dur=3.25"] * 11
    recording, scores = scored(recorder, np.zeros(11, np.int64))

    times = sections.server_times(recording, scores)

    assert times.n == 11
    assert msgspec.to_builtins(times.queue_ms) == {"p50": 0.5, "p99": None}
    assert times.compute_ms.p50 == 2
    assert times.serialise_ms.p50 == pytest.approx(0.75)
    assert times.total_ms.p50 == 3.25


def test_stages_that_a_server_leaves_out_take_no_time():
    """A request that never waited has no queue."""
    recorder = latencies(*[5] * 11)
    recorder._timings = ["compute;dur=2.0, total;dur=3.0"] * 11
    recording, scores = scored(recorder, np.zeros(11, np.int64))

    times = sections.server_times(recording, scores)

    assert (times.queue_ms.p50, times.compute_ms.p50, times.serialise_ms.p50) == (0, 2, 1)


def test_a_server_that_says_nothing_has_no_times():
    """Without timings, or with empty texts, the section is None."""
    recording, scores = scored(latencies(1, 1), np.zeros(2, np.int64))

    assert sections.server_times(recording, scores) is None
