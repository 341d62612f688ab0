"""The figures of each part of a shape: a request is in the part in which it was due."""

import numpy as np
import numpy.typing as npt

from loadtest.figures.percentiles import percentile
from loadtest.figures.scoring import Scores
from loadtest.generator.recording import Integers, Recording
from loadtest.load.plan import Plan
from loadtest.load.shapes import Shape, inside
from loadtest.report_traffic_schema import LoadPhase

# Each group of times with the same planned rates: its name, and the latencies of its parts.
AlikeLatencies = list[tuple[str, list[Integers]]]

_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000


def phases(
    recording: Recording, scores: Scores, plan: Plan, limit_ms: float | None
) -> list[LoadPhase]:
    """Return the figures of each part of a plan's shape; none if the plan has no shape.

    Args:
        recording: The recording.
        scores: Its answers.
        plan: The plan that was carried out.
        limit_ms: Latency bound in milliseconds; None for no goodput.
    """
    shape = plan.course
    if not isinstance(shape, Shape):
        return []
    # The schedule is drawn again: a recording has the times of requests, but not their start.
    parts = shape.stretch_of(plan.schedule().due_ns / _NS_PER_SECOND)
    finished, missed = parts[recording.numbers], parts[recording.missed_numbers]
    unfinished = parts[recording.unfinished_numbers]
    good = ~scores.wrong
    if limit_ms is not None:
        good &= scores.latency_ns <= limit_ms * _NS_PER_MS
    answered = finished[scores.rows]
    found = []
    for number, stretch in enumerate(shape.stretches):
        mine = answered == number
        ended, held_back = _count(finished, number), _count(missed, number)
        scheduled = ended + held_back + _count(unfinished, number)
        latency_ns = scores.latency_ns[mine]
        within = int((good & mine).sum())
        images = int(scores.used[mine].sum())
        found.append(
            LoadPhase(
                name=stretch.name,
                spans_seconds=list(stretch.spans),
                planned_rate_per_second=stretch.expected / stretch.seconds,
                scheduled=scheduled,
                answered=len(latency_ns),
                failed=ended - len(latency_ns),
                missed=held_back,
                wrong=int(scores.wrong[mine].sum()),
                p50_ms=_percentile_ms(latency_ns, 50),
                p90_ms=_percentile_ms(latency_ns, 90),
                p99_ms=_percentile_ms(latency_ns, 99),
                max_ms=float(latency_ns.max()) / _NS_PER_MS if len(latency_ns) else None,
                goodput_per_second=None if limit_ms is None else within / stretch.seconds,
                goodput_share=within / scheduled if limit_ms is not None and scheduled else None,
                top1=int(scores.correct[mine].sum()) / images if images else None,
            )
        )
    return found


def alike(recording: Recording, scores: Scores, plan: Plan) -> AlikeLatencies:
    """Return the latencies in nanoseconds of the times that a shape says are alike.

    Args:
        recording: The recording.
        scores: Its answers.
        plan: The plan that was carried out.

    Returns:
        A name and an array for each part, of every group; none if the plan has no shape.
    """
    shape = plan.course
    if not isinstance(shape, Shape):
        return []
    due_ns = plan.schedule().due_ns[recording.numbers[scores.rows]]
    seconds = due_ns / _NS_PER_SECOND
    return [
        (group.name, [scores.latency_ns[inside(seconds, part)] for part in group.parts])
        for group in shape.alike
    ]


def _count(parts: npt.NDArray[np.int64], number: int) -> int:
    return int((parts == number).sum())


def _percentile_ms(values_ns: Integers, percent: float) -> float | None:
    value = percentile(values_ns, percent)
    return None if value is None else value / _NS_PER_MS
