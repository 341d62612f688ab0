"""The figures of a run in progress are those of a single scoring of everything."""

from dataclasses import replace

import numpy as np
import pytest

from loadtest.figures import sections
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.running import RunningFigures
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder, Recording, merge
from loadtest.rows.images import shuffled
from loadtest.transports.tfs_grpc import TfsGrpc
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictResponse

IMAGES = 25
BATCH = 2
MS = 1_000_000


def answer(classes: list[int], version: int | None = 1) -> bytes:
    response = PredictResponse()
    if version is not None:
        response.model_spec.version.value = version
    tensor_proto.encode(np.array(classes, np.int64), response.outputs["classes"])
    return response.SerializeToString()


@pytest.fixture
def scorer() -> Scorer:
    """A scorer of 25 images in requests of two, the last of one."""
    labels = np.random.default_rng(0).integers(0, 10, IMAGES)
    return Scorer(TfsGrpc("m", None), shuffled(IMAGES, batch=BATCH, seed=1), labels)


@pytest.fixture
def recordings() -> list[Recording]:
    """Seven parts of a run, each with all kinds of outcomes; the third is empty."""
    random = np.random.default_rng(3)
    parts, number = [], 0
    for part in range(7):
        recorder = Recorder()
        for _ in range(0 if part == 2 else 150):
            due_ns = number * MS
            sent_ns = due_ns + int(random.integers(0, MS))
            # Requests end in the order of their sending, as far as a millisecond goes.
            end_ns = (number + 10) * MS + int(random.integers(0, MS))
            kind = random.integers(0, 20)
            recorder.sent += 1
            if kind == 0:
                recorder.miss(number, due_ns)
            elif kind == 1:
                failure = (f"KIND_{random.integers(0, 3)}", f"message {number}")
                recorder.error(number, due_ns, sent_ns, end_ns, failure)
            elif kind == 2:
                wrong_shape = answer([1, 2, int(random.integers(0, 9))])
                recorder.answer(number, due_ns, sent_ns, end_ns, wrong_shape)
            else:
                rows = BATCH if number % 13 < 12 else 1
                classes = random.integers(0, 12, rows).tolist()
                body = answer(classes, [None, 1, 2][random.integers(0, 3)])
                recorder.answer(number, due_ns, sent_ns, end_ns, body)
            number += 1
        parts.append(recorder.recording())
    return parts


def test_figures_equal_those_of_everything_at_once(scorer, recordings):
    """Latency, throughput, accuracy, errors and versions are equal after every part."""
    predictions = RecordedClasses(np.random.default_rng(5).integers(0, 10, IMAGES))
    running = RunningFigures(scorer, images=IMAGES, predictions=predictions)
    for count, recording in enumerate(recordings, 1):
        running.add(recording)

        whole = merge(recordings[:count])
        scores = scorer.score(whole, predictions=predictions)
        assert running.answered == scores.answered
        assert running.failed == scores.failed
        assert running.latency() == sections.latency(scores.latency_ns)
        for open_loop in (True, False):
            assert running.throughput(open_loop=open_loop) == sections.throughput(
                whole, scores, open_loop=open_loop
            )
        assert running.accuracy() == sections.accuracy(scores, None)
        assert running.errors() == sections.errors(scores, None)
        assert list(running.errors()) == list(sections.errors(scores, None))
        assert running.versions == scores.versions
        assert list(running.versions) == list(scores.versions)
        assert running.differing == int(scores.differs.sum())
    assert running.failed > 50
    assert len(running.errors()) == 4
    assert set(running.versions) == {None, 1, 2}


def test_without_answers_there_are_no_figures(scorer):
    """A run without answers has the figures of an empty recording."""
    running = RunningFigures(scorer, images=IMAGES)
    running.add(Recorder().recording())

    nothing = Recorder().recording()
    scores = scorer.score(nothing)
    assert running.latency() == sections.latency(scores.latency_ns)
    assert running.throughput(open_loop=True) == sections.throughput(
        nothing, scores, open_loop=True
    )
    assert running.accuracy() == sections.accuracy(scores, None)
    assert running.errors() == {}


def test_answers_that_are_not_scored_count_in_all_figures_but_accuracy(scorer, recordings):
    """Latency and rate are those of all answers, accuracy is that of the scored ones."""
    readable = [
        replace(
            recording,
            outcomes=np.where(recording.outcomes >= 0, 0, recording.outcomes),
            responses=(answer([3]),),
            numbers=np.full_like(recording.numbers, 12),  # the query with one image
        )
        for recording in (recordings[0], recordings[1])
    ]
    unscored = replace(
        readable[1],
        **{name: getattr(readable[1], name)[:9] for name in ("numbers", "due_ns")},
        **{name: getattr(readable[1], name)[:9] for name in ("sent_ns", "end_ns", "outcomes")},
    )
    running = RunningFigures(scorer, images=IMAGES)
    running.add(readable[0])
    scored = running.accuracy()
    answered = running.answered
    running.add_unscored(unscored)

    assert running.accuracy() == scored
    assert running.answered == answered + 9
    assert running.latency().n == answered + 9
    assert running.latency().max == max(
        float((part.end_ns - part.due_ns)[part.outcomes >= 0].max()) / MS
        for part in (readable[0], unscored)
    )


def test_the_first_unreadable_answer_is_quoted(scorer):
    """Of two unreadable answers in one recording, the message of the first in time is given."""
    recorder = Recorder()
    recorder.answer(5, 0, 0, 1, answer([1, 2, 3]))
    recorder.answer(0, 0, 0, 2, answer([1, 2, 3, 4]))

    (count, message) = scorer.score(recorder.recording()).errors["BAD_RESPONSE"]

    assert count == 2
    assert "shape (3,)" in message


def test_of_two_workers_the_first_unreadable_answer_in_time_is_quoted(scorer):
    """A recording that is added later may hold the earlier answer."""
    later, earlier = Recorder(), Recorder()
    later.answer(0, 0, 0, 9, answer([1, 2, 3]))
    earlier.answer(5, 0, 0, 2, answer([1, 2, 3, 4]))
    running = RunningFigures(scorer, images=IMAGES)
    running.add(later.recording())
    running.add(earlier.recording())

    whole = merge([later.recording(), earlier.recording()])
    assert running.errors() == sections.errors(scorer.score(whole), None)
    assert "shape (4,)" in running.errors()["BAD_RESPONSE"].first_message


def test_failures_come_before_as_many_unreadable_answers(scorer):
    """Equally frequent kinds have the order of a single scoring, whichever came first."""
    unreadable, failed = Recorder(), Recorder()
    unreadable.answer(0, 0, 0, 1, answer([1, 2, 3]))
    failed.error(1, 0, 0, 2, ("UNAVAILABLE", "gone"))
    running = RunningFigures(scorer, images=IMAGES)
    running.add(unreadable.recording())
    running.add(failed.recording())

    assert list(running.errors()) == ["UNAVAILABLE", "BAD_RESPONSE"]
