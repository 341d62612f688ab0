import time

import numpy as np
import pytest

from loadtest.figures import sections
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recording, merge
from loadtest.rows.images import shuffled
from loadtest.transports.tfs_grpc import TfsGrpc
from loadtest.web.locust_run import LocustRun, Summary
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictResponse
from training.data.cifar10 import CLASS_NAMES

IMAGES = 24
MS = 1_000_000


def answer(*classes: int) -> bytes:
    response = PredictResponse()
    response.model_spec.version.value = 1
    tensor_proto.encode(np.array(classes, np.int64), response.outputs["classes"])
    return response.SerializeToString()


@pytest.fixture
def new_run():
    """Return a function that creates a run of 24 images with label 0."""

    def make(payloads: int = IMAGES) -> LocustRun:
        queries = shuffled(IMAGES, batch=1, seed=0)
        bodies = [bytes([query]) for query in range(payloads)]
        labels = np.zeros(IMAGES, np.int64)
        return LocustRun(TfsGrpc("m", None), queries, labels, bodies, CLASS_NAMES)

    return make


def send(run: LocustRun, times: int, *, latency_ms: int = 1, response: bytes | None = None) -> None:
    for _ in range(times):
        number, _ = run.next_request()
        sent_ns = time.monotonic_ns()
        run.answer(number, sent_ns, sent_ns + latency_ms * MS, response or answer(0))


def test_images_go_round_again(new_run):
    """The images repeat: requests 0 and 24 hold the same image."""
    run = new_run()

    requests = [run.next_request() for _ in range(IMAGES + 1)]

    assert requests[0][1] == requests[IMAGES][1]
    assert len({body for _, body in requests}) == IMAGES


def test_without_requests_users_find_nothing_to_do(new_run):
    """A run without payloads, as after a wrong form, returns no request."""
    assert new_run(payloads=0).next_request() is None


def test_answers_and_failures_are_summed_up(new_run):
    """The summary counts ten right, five wrong, one unreadable and one failed answer."""
    run = new_run()
    send(run, 10)
    send(run, 5, response=answer(3))
    send(run, 1, response=answer(1, 2))
    run.error(16, time.monotonic_ns(), time.monotonic_ns(), ("UNAVAILABLE", "gone"))

    summary = run.summary()

    assert (summary.answered, summary.failed) == (15, 2)
    assert summary.accuracy.correct == 10
    assert summary.latency_ms.p50 == 1
    assert {kind: error.count for kind, error in summary.errors.items()} == {
        "BAD_RESPONSE": 1,
        "UNAVAILABLE": 1,
    }
    assert summary.answers_by_version == {"1": 15}


def test_locust_is_told_what_cannot_be_scored(new_run):
    """`answer` returns a reason for an unreadable answer, and None for a wrong class."""
    run = new_run()

    assert run.answer(0, time.monotonic_ns(), time.monotonic_ns(), answer(7)) is None
    problem = run.answer(1, time.monotonic_ns(), time.monotonic_ns(), answer(1, 2))

    assert "expected integers of shape (1,)" in problem


def test_looking_twice_changes_nothing(new_run):
    """Reading the summary twice, as the page does every two seconds, gives the same figures."""
    run = new_run()
    send(run, 3)
    run.summary()
    send(run, 2)

    assert run.summary().answered == 5
    assert run.summary() == run.summary()


def test_a_reset_counts_afresh_without_the_answers_still_under_way(new_run):
    """An answer to a request sent before a reset is not counted."""
    run = new_run()
    send(run, 2)
    before_ns = time.monotonic_ns()
    run.reset()
    run.answer(2, before_ns, time.monotonic_ns(), answer(0))
    run.error(3, before_ns, time.monotonic_ns(), ("UNAVAILABLE", ""))
    send(run, 1)

    summary = run.summary()

    assert (summary.answered, summary.failed) == (1, 0)


def test_a_master_merges_what_its_workers_hand_over(new_run):
    """Counts and percentiles of two workers' reports are those of all raw values."""
    master, workers = new_run(payloads=0), [new_run(), new_run()]
    for round_number in range(3):
        for number, worker in enumerate(workers):
            send(worker, 10, latency_ms=1 + number + 2 * round_number)
            handed = Recording.from_bytes(worker.hand_over().to_bytes())
            master.take_over(handed)

    summary = master.summary()

    assert summary.answered == 60
    assert summary.latency_ms.min == 1
    assert summary.latency_ms.p50 == 3
    assert summary.latency_ms.max == 6
    assert summary.accuracy.distinct_images == IMAGES
    # A worker hands each answer over only once.
    assert workers[0].hand_over().finished == 0


def test_polled_figures_equal_those_of_a_full_rescoring(new_run):
    """A master that was polled after every report shows what one scoring of all reports gives."""
    master, workers = new_run(payloads=0), [new_run(), new_run()]
    reports = []
    for round_number in range(5):
        for number, worker in enumerate(workers):
            send(worker, 40, latency_ms=1 + number + 2 * round_number)
            send(worker, 7, response=answer(round_number))
            send(worker, 1, response=answer(*range(2 + number)))
            worker.error(9, time.monotonic_ns(), time.monotonic_ns(), (f"KIND_{number}", "gone"))
            reports.append(Recording.from_bytes(worker.hand_over().to_bytes()))
            master.take_over(reports[-1])
        polled = master.summary()

    whole = merge(reports)
    queries = shuffled(IMAGES, batch=1, seed=0)
    scores = Scorer(TfsGrpc("m", None), queries, np.zeros(IMAGES, np.int64)).score(whole)
    assert polled == Summary(
        answered=scores.answered,
        failed=scores.failed,
        latency_ms=sections.latency(scores.latency_ns),
        throughput=sections.throughput(whole, scores, open_loop=False),
        accuracy=sections.accuracy(scores, None),
        errors=sections.errors(scores, None),
        answers_by_version=sections.answers_by_version(scores.versions),
    )
    assert polled.answered == 2 * 5 * 47
    assert list(polled.errors) == list(sections.errors(scores, None))


def test_a_poll_scores_only_what_is_new(new_run, monkeypatch):
    """Every answer is scored once, however often the page asks."""
    scored = []
    score = Scorer.score

    def counted(scorer, recording, **settings):
        scored.append(recording.finished)
        return score(scorer, recording, **settings)

    monkeypatch.setattr(Scorer, "score", counted)
    run = new_run()
    for count in (30, 0, 5, 0, 0, 1):
        send(run, count)
        run.summary()

    assert sum(scored) == run.summary().answered == 36
    assert max(scored) == 30
