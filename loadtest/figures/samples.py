"""The samples of a run: times, code, images, labels and answers of every request.

`docs/samples.md` describes the arrays for users, and has a script that computes the report's
figures from them.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.scoring import WRONG_ANSWER, Scores, of_images
from loadtest.figures.sections import STAGES, stage_times_ms
from loadtest.generator.recording import Integers, Recording
from loadtest.report_schema import Scenario
from loadtest.transports.api import BAD_RESPONSE
from training import schemas

# Codes that are no error of the report. All other codes are keys of its section `errors`.
OK = "OK"
MISSED = "MISSED"
UNFINISHED = "UNFINISHED"

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the requests of a run asked, and the right and the recorded answers.

    Attributes:
        queries: int64, shape (queries, batch): test image, or other row, at each place of the
            queries, which were sent in turn; -1 at unused places of a short query.
        labels: int64, shape (images,): true class of each image; None if unknown.
        predictions: Recorded class of each image; None if the answers were not compared with
            recorded classes.
    """

    queries: Integers
    labels: Integers | None
    predictions: RecordedClasses | None


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One row for each request: those that ended in order of their ends, then all others.

    Attributes:
        columns: An array for each property, of length n. `code` (int16) is an index into `codes`.
        codes: The names of the outcomes: OK, MISSED, UNFINISHED, and those of the report's errors.
        facts: Values of the whole run: `schema_version`, `loop`, `slo_ms` and `percentile`.
    """

    columns: Columns
    codes: tuple[str, ...]
    facts: dict[str, int | float | str | None]

    def npz(self) -> memoryview:
        """Return the samples as a NumPy archive; each fact is an array without dimensions.

        `slo_ms` is NaN if no latency bound was set.
        """
        arrays: dict[str, Any] = {**self.columns, "codes": np.array(self.codes)}
        for name, fact in self.facts.items():
            arrays[name] = np.array(np.nan if fact is None else fact)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        return content.getbuffer()


def collect(recording: Recording, scores: Scores, asked: Asked, scenario: Scenario) -> Samples:
    """Return the samples of a run.

    Args:
        recording: The recording.
        scores: Its answers.
        asked: The images of its requests.
        scenario: Its load.
    """
    numbers = np.concatenate(
        [recording.numbers, recording.missed_numbers, recording.unfinished_numbers]
    )
    images = asked.queries[numbers % len(asked.queries)]
    answers = np.full_like(images, -1)
    answers[scores.rows] = scores.classes
    version = np.full(len(numbers), -1, np.int64)
    version[scores.rows] = scores.model_versions
    codes, code = _codes(recording, scores)
    columns = {
        "request": numbers,
        **_times(recording, scores),
        "code": code,
        "image_ids": images,
        "labels": of_images(asked.labels, images),
        "answers": answers,
        "version": version,
    }
    if asked.predictions is not None:
        columns["recorded"] = of_images(asked.predictions.classes, images)
        if asked.predictions.near_ties is not None:
            near_tie = columns["near_tie"] = np.zeros(images.shape, np.bool_)
            near_tie[scores.rows] = scores.near_tie
    elif scores.differs is not None:
        differs = columns["differs"] = np.zeros(images.shape, np.bool_)
        differs[scores.rows] = scores.differs
    if recording.timings:
        for stage, times_ms in zip(STAGES, stage_times_ms(recording, scores).T, strict=True):
            column = columns[f"server_{stage}_ms"] = np.full(len(numbers), np.nan)
            column[scores.rows] = times_ms
    return Samples(
        columns=columns,
        codes=codes,
        facts={
            schemas.SAMPLES.field: schemas.SAMPLES.newest,
            "loop": scenario.loop,
            "slo_ms": scenario.slo_ms,
            "percentile": scenario.slo_percentile,
        },
    )


def _times(recording: Recording, scores: Scores) -> Columns:
    """Return the times in nanoseconds from the first due time; -1 for what did not happen."""
    due_ns = np.concatenate(
        [recording.due_ns, recording.missed_due_ns, recording.unfinished_due_ns]
    )
    origin_ns = due_ns.min() if len(due_ns) else 0
    finished, unfinished = recording.finished, len(recording.unfinished_numbers)
    sent_ns, end_ns, latency_ns = (np.full_like(due_ns, -1) for _ in range(3))
    sent_ns[:finished] = recording.sent_ns - origin_ns
    sent_ns[len(due_ns) - unfinished :] = recording.unfinished_sent_ns - origin_ns
    end_ns[:finished] = recording.end_ns - origin_ns
    latency_ns[scores.rows] = scores.latency_ns
    return {
        "due_ns": due_ns - origin_ns,
        "sent_ns": sent_ns,
        "end_ns": end_ns,
        "latency_ns": latency_ns,
    }


def _codes(recording: Recording, scores: Scores) -> tuple[tuple[str, ...], npt.NDArray[np.int16]]:
    """Return the names of the outcomes, and the index into them of each request."""
    kinds = [kind for kind, _ in recording.errors]
    codes = tuple(dict.fromkeys([OK, WRONG_ANSWER, BAD_RESPONSE, MISSED, UNFINISHED, *kinds]))
    index = {name: number for number, name in enumerate(codes)}
    failures = np.array([index[kind] for kind in kinds], np.int16)
    # An answer that has no score is one that cannot be scored.
    finished = np.full(recording.finished, index[BAD_RESPONSE], np.int16)
    failed = recording.outcomes < 0
    finished[failed] = failures[~recording.outcomes[failed]]
    finished[scores.rows] = np.where(scores.wrong, index[WRONG_ANSWER], index[OK])
    missed = np.full(len(recording.missed_numbers), index[MISSED], np.int16)
    unfinished = np.full(len(recording.unfinished_numbers), index[UNFINISHED], np.int16)
    return codes, np.concatenate([finished, missed, unfinished])
