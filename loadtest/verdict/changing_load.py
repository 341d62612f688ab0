"""The rules of validity that a load of changing rate needs in place of those for a steady one.

`stable` compares the thirds of a run, because a steady load has the same latency in all of them. A
load whose rate changes has not: there, only times with the same planned rate are compared.
`duration` compares the time of a run with --duration; a shape may end with few requests, and a
replay ends with its last one, so the requests of the schedule are counted instead.
"""

from collections.abc import Sequence

import numpy as np

from loadtest.figures.phases import AlikeLatencies
from loadtest.load.plan import Plan
from loadtest.load.shapes import Shape
from loadtest.report_sections_schema import Check, Requests

# The limits of the rule, for a steady load too. perf_analyzer demands 10 % over three windows in a
# row, but on otherwise idle machines.
STABLE_RATIO = 1.25
STABLE_REQUESTS = 50
_NS_PER_MS = 1_000_000


def note(plan: Plan) -> str | None:
    """Return which rules are replaced, in words, for the report; None for a steady load."""
    course = plan.course
    if course is None:
        return None
    if isinstance(course, Shape) and course.alike:
        instead = f"compares times with the same planned rates ({course.alike[0].name}, ...)"
    elif isinstance(course, Shape):
        instead = "is not judged, because no two parts of a ramp have the same rates"
    else:
        instead = "is not judged, because recorded traffic has the rates of its own time"
    return (
        "the rate changes during the run, so two rules of validity differ: stable does not compare "
        f"the thirds of the run, but {instead}; duration is replaced by schedule, which counts "
        "the requests"
    )


def schedule(plan: Plan, requests: Requests) -> Check:
    """Check that all requests of the schedule were due within the run."""
    drawn = len(plan.schedule())
    return Check(
        name="schedule",
        passed=requests.scheduled == drawn,
        detail=f"{requests.scheduled:,} of the {drawn:,} requests of the schedule were due",
    )


def stable(plan: Plan, alike: AlikeLatencies) -> Check:
    """Check that the median latency is the same at times with the same planned rates.

    Args:
        plan: The plan.
        alike: Latencies of the parts of each group of such times, in nanoseconds.
    """
    if not alike:
        what = "ramp" if isinstance(plan.course, Shape) else "replay"
        detail = f"not judged: a {what} has no two parts with the same planned rates"
        return Check(name="stable", passed=True, detail=detail)
    judged = [
        (name, [float(np.median(part)) / _NS_PER_MS for part in parts])
        for name, parts in alike
        if min(len(part) for part in parts) >= STABLE_REQUESTS
    ]
    if not judged:
        detail = (
            f"not judged: no times with the same planned rates have {STABLE_REQUESTS} requests in "
            "each part"
        )
        return Check(name="stable", passed=True, detail=detail)
    apart = [(name, medians) for name, medians in judged if _ratio(medians) > STABLE_RATIO]
    shown = apart or [max(judged, key=lambda each: _ratio(each[1]))]
    texts = [
        f"{name} {', '.join(f'{median:.3f}' for median in medians)} ms" for name, medians in shown
    ]
    return Check(
        name="stable",
        passed=not apart,
        detail=(
            f"median latency at the same planned rates: {'; '.join(texts)}; at most "
            f"{100 * (STABLE_RATIO - 1):.0f} % apart"
        ),
    )


def _ratio(medians: Sequence[float]) -> float:
    return max(medians) / min(medians)
