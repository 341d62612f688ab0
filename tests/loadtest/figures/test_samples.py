import io
from types import SimpleNamespace

import numpy as np

from loadtest.figures import samples
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.samples import Asked
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder, merge
from loadtest.rows.images import Queries
from loadtest.transports.api import Answer

# Five images in the order 4, 0, 2, 1, 3: queries (4, 0), (2, 1) and (3,).
QUERIES = Queries(np.array([4, 0, 2, 1, 3]), 2)
LABELS = np.array([10, 11, 12, 13, 14])
SCENARIO = SimpleNamespace(loop="open", slo_ms=None, slo_percentile=99.0)


class TextApi:
    """An Api whose answers are a version and the classes, separated by spaces."""

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        version, *classes = map(int, response.split())
        if len(classes) != rows:
            msg = f"{len(classes)} classes received, expected {rows}"
            raise ValueError(msg)
        return Answer(np.array(classes), version or None, "classes")


def recorders() -> tuple[Recorder, Recorder]:
    """Return two processes' recorders, with each outcome of a request once or twice."""
    first, second = Recorder(), Recorder()
    first.answer(0, 1000, 1001, 1050, b"7 14 10")
    first.timing("queue;dur=0.5, total;dur=2")
    first.error(2, 1020, 1021, 1030, ("UNAVAILABLE", "gone"))
    first.answer(4, 1040, 1041, 1060, b"7 12")
    first.miss(6, 1065)
    second.answer(1, 1010, 1010, 1045, b"0 12 99")
    second.error(3, 1030, 1031, 1035, ("HTTP_503", "busy"))
    second.give_up(5, 990, 995)
    second.miss(7, 1062)
    for recorder, sent in ((first, 3), (second, 3)):
        recorder.sent = sent
    return first, second


def collected(predictions: RecordedClasses | None = None, scenario: object = SCENARIO):
    recording = merge([recorder.recording() for recorder in recorders()])
    scores = Scorer(TextApi(), QUERIES, LABELS).score(recording, predictions=predictions)
    asked = Asked(queries=QUERIES.table, labels=LABELS, predictions=predictions)
    return samples.collect(recording, scores, asked, scenario)


def test_every_request_has_one_row():
    """Answered, failed, missed and given up requests have their times, code, images and labels."""
    found = collected(predictions=RecordedClasses(LABELS))

    columns = {name: values.tolist() for name, values in found.columns.items()}
    assert [found.codes[code] for code in columns.pop("code")] == [
        *("UNAVAILABLE", "HTTP_503", "WRONG_ANSWER", "OK", "BAD_RESPONSE"),
        *("MISSED", "MISSED", "UNFINISHED"),
    ]
    np.testing.assert_equal(
        columns,
        {
            "request": [2, 3, 1, 0, 4, 7, 6, 5],
            "due_ns": [30, 40, 20, 10, 50, 72, 75, 0],
            "sent_ns": [31, 41, 20, 11, 51, -1, -1, 5],
            "end_ns": [40, 45, 55, 60, 70, -1, -1, -1],
            "latency_ns": [-1, -1, 35, 50, -1, -1, -1, -1],
            "image_ids": [[3, -1], [4, 0], [2, 1], [4, 0], [2, 1], [2, 1], [4, 0], [3, -1]],
            "labels": [
                *([13, -1], [14, 10], [12, 11], [14, 10]),
                *([12, 11], [12, 11], [14, 10], [13, -1]),
            ],
            "answers": [[-1, -1]] * 2 + [[12, 99], [14, 10]] + [[-1, -1]] * 4,
            "version": [-1, -1, -1, 7, -1, -1, -1, -1],
            "recorded": columns["labels"],
            "server_queue_ms": [np.nan] * 3 + [0.5] + [np.nan] * 4,
            "server_compute_ms": [np.nan] * 3 + [0.0] + [np.nan] * 4,
            "server_total_ms": [np.nan] * 3 + [2.0] + [np.nan] * 4,
        },
    )


def test_answers_that_were_not_compared_are_not_wrong():
    """Without recorded predictions there is no `recorded`, and the code of each answer is OK."""
    found = collected()

    assert "recorded" not in found.columns
    assert [found.codes[code] for code in found.columns["code"][2:4]] == ["OK", "OK"]


def test_the_archive_has_the_arrays_and_the_facts():
    """The archive is read without pickles, has each column, and the facts as single values."""
    found = collected(scenario=SimpleNamespace(loop="closed", slo_ms=15.0, slo_percentile=90.0))

    with np.load(io.BytesIO(found.npz()), allow_pickle=False) as archive:
        arrays = dict(archive)
    for name, values in found.columns.items():
        np.testing.assert_array_equal(arrays.pop(name), values, err_msg=name)
    assert {name: values.tolist() for name, values in arrays.items()} == {
        "codes": list(found.codes),
        "schema_version": 2,
        "loop": "closed",
        "slo_ms": 15.0,
        "percentile": 90.0,
    }
    assert found.columns["code"].dtype == np.int16
    with np.load(io.BytesIO(collected().npz())) as archive:
        assert np.isnan(archive["slo_ms"])


def test_a_run_without_requests_has_no_rows():
    """A run that ended before its first request has every array, of length 0."""
    recording = Recorder().recording()
    scores = Scorer(TextApi(), QUERIES, LABELS).score(recording)
    asked = Asked(queries=QUERIES.table, labels=LABELS, predictions=None)

    found = samples.collect(recording, scores, asked, SCENARIO)

    assert {len(values) for values in found.columns.values()} == {0}
    assert found.columns["answers"].shape == (0, 2)
