"""Sections of a report, computed from a recording and its scores.

`report_sections_schema` describes their fields.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from loadtest.figures import histogram
from loadtest.figures.percentiles import DEFINITION, percentile, samples_needed
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import WRONG_ANSWER, Scores
from loadtest.generator.recording import Integers, Recording
from loadtest.report_data_schema import Unit
from loadtest.report_sections_schema import (
    Accuracy,
    Client,
    ErrorKind,
    Floor,
    Lag,
    Latency,
    Mismatch,
    Mismatches,
    Quantiles,
    Recorded,
    ServerTimes,
    Throughput,
    Window,
)
from training.data.cifar10 import CLASS_NAMES
from training.evaluation.accuracy import wilson_interval

_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p97": 97, "p99": 99, "p99_9": 99.9}
_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000
_EXAMPLES = 20
_SAME_ANSWERS = 16
# Widths of the buckets of `windows` in seconds. The first one is taken that gives at most so many
# buckets, with twice the answers that a median needs on average; otherwise the last one.
_BUCKETS_SECONDS = (0.25, 0.5, 1.0)
_MOST_BUCKETS = 60
# The stages that the report and the samples have of the server's own times.
STAGES = ("queue", "compute", "total")
# A stage of a server-timing value: "queue;dur=0.112".
_STAGE = re.compile(r"(\w+)\s*;[^,]*?dur=([0-9.]+)")


def latency(latency_ns: Integers) -> Latency:
    """Return the latency section.

    Args:
        latency_ns: int64, shape (n,): latency of each answered request in nanoseconds.
    """
    n = len(latency_ns)
    return Latency(
        n=n,
        min=_ms(int(latency_ns.min())) if n else None,
        mean=_ms(float(latency_ns.mean())) if n else None,
        max=_ms(int(latency_ns.max())) if n else None,
        p50=_percentile_ms(latency_ns, 50),
        p90=_percentile_ms(latency_ns, 90),
        p95=_percentile_ms(latency_ns, 95),
        p97=_percentile_ms(latency_ns, 97),
        p99=_percentile_ms(latency_ns, 99),
        p99_9=_percentile_ms(latency_ns, 99.9),
        requests_needed={name: samples_needed(p) for name, p in _PERCENTILES.items()},
        definition=DEFINITION,
        histogram=histogram.encode(latency_ns) if n else None,
    )


def window_seconds(recording: Recording) -> float:
    """Return the seconds from the first due time to the last request's end; 0 without requests."""
    if not recording.finished:
        return 0.0
    return float(recording.end_ns.max() - _origin_ns(recording)) / _NS_PER_SECOND


def throughput(recording: Recording, scores: Scores, *, open_loop: bool) -> Throughput:
    """Return offered and answered rates over the timed window."""
    seconds = window_seconds(recording)
    due_ns = np.concatenate([recording.due_ns, recording.missed_due_ns])
    due_seconds = float(due_ns.max() - due_ns.min()) / _NS_PER_SECOND if len(due_ns) else 0.0
    return Throughput(
        window_seconds=seconds,
        offered_requests_per_second=(
            (len(due_ns) - 1) / due_seconds if open_loop and due_seconds else None
        ),
        requests_per_second=scores.answered / seconds if seconds else None,
        images_per_second=int(scores.used.sum()) / seconds if seconds else None,
    )


def accuracy(
    scores: Scores, record: Record | str | None, class_names: Sequence[str] = CLASS_NAMES
) -> Accuracy:
    """Return top-1 of the answers, with the recorded accuracy.

    Args:
        scores: The answers.
        record: The published record, the reason why there is none, or None if no comparison was
            requested.
        class_names: Names of the classes; empty for no figures of single classes.
    """
    used = scores.used
    images, labels, classes = (
        values[used] for values in (scores.images, scores.labels, scores.classes)
    )
    n, distinct = len(images), len(np.unique(images))
    if (labels < 0).any():
        return _no_accuracy(n, distinct, record)
    right = classes == labels
    correct, known = int(right.sum()), len(class_names)
    columns = np.where((classes >= 0) & (classes < known), classes, known)
    cells = labels * (known + 1) + columns if known else labels[:0]
    confusion = np.bincount(cells, minlength=known * (known + 1))[: known * (known + 1)]
    return Accuracy(
        n=n,
        correct=correct,
        top1=correct / n if n else None,
        wilson_95=wilson_interval(round(correct / n * distinct), distinct) if n else None,
        distinct_images=distinct,
        per_class={
            name: float(right[labels == label].mean()) if (labels == label).any() else None
            for label, name in enumerate(class_names)
        },
        confusion=confusion.reshape(known, known + 1).tolist(),
        recorded=(_recorded(record, images, labels, right) if isinstance(record, Record) else None),
        recorded_missing=record if isinstance(record, str) else None,
    )


def _no_accuracy(n: int, distinct: int, record: Record | str | None) -> Accuracy:
    """Return the section of rows without labels."""
    return Accuracy(
        n=n,
        correct=0,
        top1=None,
        wilson_95=None,
        distinct_images=distinct,
        per_class={},
        confusion=[],
        recorded=None,
        recorded_missing=record if isinstance(record, str) else None,
    )


def mismatches(recording: Recording, scores: Scores) -> Mismatches | None:
    """Return the answers that differ from the record; None without recorded answers."""
    if scores.differs is None:
        return None
    recorded = scores.recorded if scores.recorded is not None else np.full_like(scores.images, -1)
    origin_ns = _origin_ns(recording)
    examples: list[Mismatch] = []
    for place, row in np.argwhere(scores.differs)[:_EXAMPLES].tolist():
        raw = scores.rows[place]
        image = int(scores.images[place, row])
        examples.append(
            Mismatch(
                request=int(recording.numbers[raw]),
                image=image,
                row=row,
                answered=int(scores.classes[place, row]),
                recorded=int(recorded[place, row]),
                label=int(scores.labels[place, row]),
                sent_seconds=float(recording.sent_ns[raw] - origin_ns) / _NS_PER_SECOND,
                same_answer_as=_same_answer_as(recording, scores, place),
            )
        )
    return Mismatches(
        compared=int(scores.used.sum()),
        differing=int(scores.differs.sum()),
        near_ties=int(scores.near_tie.sum()),
        requests=int(scores.wrong.sum()),
        examples=examples,
    )


def errors(scores: Scores, found: Mismatches | None, unit: Unit = "images") -> dict[str, ErrorKind]:
    """Return failures and wrong answers by kind, most frequent first."""
    kinds: dict[str, ErrorKind] = {
        kind: ErrorKind(count=count, first_message=message)
        for kind, (count, message) in scores.errors.items()
    }
    if found is not None and found.examples:
        kinds[WRONG_ANSWER] = ErrorKind(
            count=found.requests,
            first_message=mismatch_text(found.examples[0], scores.difference, unit),
        )
    return dict(sorted(kinds.items(), key=lambda item: -item[1].count))


def mismatch_text(mismatch: Mismatch, difference: str | None = None, unit: Unit = "images") -> str:
    """Return one sentence about a mismatch.

    Args:
        mismatch: The mismatch.
        difference: What differs, if the answers are no classes.
        unit: What a row is.
    """
    what = "test image" if unit == "images" else "row"
    was = f"{mismatch.answered}, recorded is {mismatch.recorded}"
    if difference is not None:
        was = f"with {difference}"
    text = (
        f"request {mismatch.request} ({what} {mismatch.image} in row {mismatch.row}, "
        f"sent at {mismatch.sent_seconds:.3f} s) was answered {was}"
    )
    if mismatch.same_answer_as:
        others = ", ".join(map(str, mismatch.same_answer_as))
        text += f"; the same bytes were the right answer to request {others} at that time"
    return text


def server_times(recording: Recording, scores: Scores) -> ServerTimes | None:
    """Return quantiles of the server's own timings; None if no answer carried timings."""
    times_ms = stage_times_ms(recording, scores)
    times_ms = times_ms[~np.isnan(times_ms).any(axis=1)]
    if not len(times_ms):
        return None
    queue, compute, total = times_ms.T * _NS_PER_MS
    return ServerTimes(
        n=len(times_ms),
        queue_ms=_quantiles(queue.astype(np.int64)),
        compute_ms=_quantiles(compute.astype(np.int64)),
        serialise_ms=_quantiles(np.maximum(total - queue - compute, 0).astype(np.int64)),
        total_ms=_quantiles(total.astype(np.int64)),
    )


def stage_times_ms(recording: Recording, scores: Scores) -> npt.NDArray[np.float64]:
    """Return the server's own times of each answer, in milliseconds.

    Returns:
        float64, shape (answered, 3): the times of `STAGES`. A stage that the server did not name
        took no time. All three are NaN if the answer carried no times.
    """
    times_ms = np.full((scores.answered, len(STAGES)), np.nan)
    for place, row in enumerate(scores.rows.tolist() if recording.timings else ()):
        if text := recording.timings[row]:
            stages = dict(_STAGE.findall(text))
            times_ms[place] = [float(stages.get(name, 0)) for name in STAGES]
    return times_ms


def client(recording: Recording, *, open_loop: bool) -> Client:
    """Return the load generator's own costs: lateness of requests and CPU time."""
    seconds = window_seconds(recording)
    lag_ns = recording.sent_ns - recording.due_ns
    lag: Lag = Lag(
        p50=_percentile_ms(lag_ns, 50),
        p99=_percentile_ms(lag_ns, 99),
        max=_ms(int(lag_ns.max())) if len(lag_ns) else None,
    )
    cpu_seconds = sum(recording.cpu_seconds)
    return Client(
        processes=len(recording.cpu_seconds),
        lag_ms=lag if open_loop else None,
        cpu_seconds=cpu_seconds,
        cpu_share=max(recording.cpu_seconds) / seconds if seconds else 0.0,
        cpu_us_per_request=1e6 * cpu_seconds / recording.finished if recording.finished else None,
        in_flight_max=recording.in_flight_max,
    )


def windows(recording: Recording, scores: Scores) -> list[Window]:
    """Return the figures of each bucket of the run; requests belong to the one they were due in.

    A short run has narrower buckets, down to a quarter of a second.
    """
    origin_ns = _origin_ns(recording)
    seconds = _bucket_seconds(recording, scores)
    width_ns = round(seconds * _NS_PER_SECOND)
    due = (recording.due_ns - origin_ns) // width_ns
    missed = (recording.missed_due_ns - origin_ns) // width_ns
    answered = due[scores.rows]
    count = int(max(due.max(initial=-1), missed.max(initial=-1))) + 1
    scheduled = np.bincount(due, minlength=count) + np.bincount(missed, minlength=count)
    fine = np.bincount(answered[~scores.wrong], minlength=count)
    order = np.argsort(answered, kind="stable")
    bounds = np.searchsorted(answered[order], np.arange(count + 1))
    result: list[Window] = []
    for bucket in range(count):
        latency_ns = scores.latency_ns[order[bounds[bucket] : bounds[bucket + 1]]]
        result.append(
            Window(
                t_seconds=bucket * seconds,
                seconds=seconds,
                scheduled=int(scheduled[bucket]),
                answered=len(latency_ns),
                errors=int(scheduled[bucket] - fine[bucket]),
                p50_ms=_percentile_ms(latency_ns, 50),
                p99_ms=_percentile_ms(latency_ns, 99),
                max_ms=_ms(int(latency_ns.max())) if len(latency_ns) else None,
            )
        )
    return result


def floor(recording: Recording) -> Floor:
    """Return the figures of a run against the null server; its answers are not scored."""
    answered = recording.outcomes >= 0
    latency_ns = (recording.end_ns - recording.due_ns)[answered]
    seconds = window_seconds(recording)
    costs = client(recording, open_loop=False)
    return Floor(
        n=len(latency_ns),
        failed=int((~answered).sum()),
        p50_ms=_percentile_ms(latency_ns, 50),
        p99_ms=_percentile_ms(latency_ns, 99),
        max_ms=_ms(int(latency_ns.max())) if len(latency_ns) else None,
        requests_per_second=len(latency_ns) / seconds if seconds else None,
        client_cpu_us_per_request=costs.cpu_us_per_request,
        client_cpu_share=costs.cpu_share,
    )


def answers_by_version(versions: Mapping[int | None, int]) -> dict[str, int]:
    """Return the counts with text keys for JSON: "unknown" if the server named no version."""
    return {
        "unknown" if version is None else str(version): count for version, count in versions.items()
    }


def thirds(recording: Recording, scores: Scores) -> Sequence[Integers]:
    """Return the latencies (ns) of the requests due in each third of the run's due times."""
    due_ns = recording.due_ns[scores.rows]
    if not len(due_ns):
        return [scores.latency_ns] * 3
    edges = np.linspace(due_ns.min(), due_ns.max(), 4)[1:-1]
    part = np.searchsorted(edges, due_ns, side="right")
    return [scores.latency_ns[part == number] for number in range(3)]


def _bucket_seconds(recording: Recording, scores: Scores) -> float:
    due_ns = np.concatenate([recording.due_ns, recording.missed_due_ns])
    last = float(due_ns.max(initial=0) - _origin_ns(recording)) / _NS_PER_SECOND
    fewest = 2 * samples_needed(50)
    for seconds in _BUCKETS_SECONDS:
        buckets = int(last / seconds) + 1
        if buckets <= _MOST_BUCKETS and scores.answered >= fewest * buckets:
            return seconds
    return _BUCKETS_SECONDS[-1]


def _recorded(
    record: Record, images: Integers, labels: Integers, right: npt.NDArray[np.bool_]
) -> Recorded:
    reference = record.top1
    if record.predictions is not None and len(images):
        reference = float((record.predictions.classes[images] == labels).mean())
    return Recorded(
        version=record.version,
        precision=record.precision,
        artefact_sha256=record.sha256,
        top1=record.top1,
        n=record.n,
        same_images=record.same_images,
        difference_points=100 * (float(right.mean()) - reference) if len(images) else 0.0,
    )


def _same_answer_as(recording: Recording, scores: Scores, place: int) -> list[int]:
    """Return requests under way at the same time for which the same bytes were right."""
    rows = scores.rows
    raw = rows[place]
    together = (
        (recording.sent_ns[rows] < recording.end_ns[raw])
        & (recording.end_ns[rows] > recording.sent_ns[raw])
        & (recording.outcomes[rows] == recording.outcomes[raw])
        & ~scores.wrong
    )
    numbers = recording.numbers[rows[together]][:_SAME_ANSWERS]
    return [int(number) for number in numbers]


def _origin_ns(recording: Recording) -> int:
    firsts = [due.min() for due in (recording.due_ns, recording.missed_due_ns) if len(due)]
    return int(min(firsts, default=0))


def _quantiles(values_ns: Integers) -> Quantiles:
    return Quantiles(p50=_percentile_ms(values_ns, 50), p99=_percentile_ms(values_ns, 99))


def _percentile_ms(values_ns: Integers, percent: float) -> float | None:
    value = percentile(values_ns, percent)
    return None if value is None else _ms(value)


def _ms(nanoseconds: float) -> float:
    return nanoseconds / _NS_PER_MS
