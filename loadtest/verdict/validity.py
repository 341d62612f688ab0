"""Rules of validity: MLPerf's rules, and limits on what the load generator itself consumed.

The figures of a run may be quoted if every rule passes (VALID). An INVALID run is still reported,
with the reasons. The limits of the gates, which the command line sets, change no rule.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadtest.figures import correlation
from loadtest.figures.bounds import FULL_SECONDS, QUICK_SECONDS
from loadtest.figures.percentiles import percentile, samples_needed
from loadtest.figures.phases import AlikeLatencies
from loadtest.load.scenarios import SettledLoad
from loadtest.report_data_schema import Unit
from loadtest.report_sections_schema import (
    Accuracy,
    Check,
    Client,
    Latency,
    Requests,
    Slo,
    Throughput,
    Validity,
)
from loadtest.verdict import changing_load
from loadtest.verdict.changing_load import STABLE_RATIO, STABLE_REQUESTS

# MLPerf's offline scenario needs this many samples, or the whole data set if it is smaller.
_OFFLINE_IMAGES = 24_576
# Name of the rule about answers that differ from the record.
WRONG_ANSWERS = "wrong-answers"
# Highest shares of missed and failed requests; above them the server did not get the planned load.
MISSED_SHARE = 0.001
FAILED_SHARE = 0.001
# A busy load generator adds its own queueing time to the latency.
CPU_SHARE = 0.8
LAG_SHARE = 0.1
_STALL_RATIO = 2
# With --duration the last arrival may come a little before the duration ends.
_DURATION_SHARE = 0.99
_NS_PER_MS = 1_000_000


def judge(
    load: SettledLoad,
    *,
    stop_reason: str | None,
    images: int,
    unit: Unit = "images",
    requests: Requests,
    latency: Latency,
    throughput: Throughput,
    accuracy: Accuracy,
    slo: Slo | None,
    client: Client,
    thirds: Sequence[npt.NDArray[np.int64]],
    wrong_images: int,
    alike: AlikeLatencies | None = None,
) -> Validity:
    """Apply every rule and return the verdict with its checks and reasons.

    Args:
        load: The planned load.
        stop_reason: Why the run ended early; None if it ran to its end.
        images: Number of test images, or of other rows.
        unit: What they are.
        requests: Section `requests` of the result.
        latency: Section `latency_ms`.
        throughput: Section `throughput`.
        accuracy: Section `accuracy`.
        slo: Section `slo`; None without a latency bound.
        client: Section `client`.
        thirds: Latencies in nanoseconds of the first, second and last third of the run.
        wrong_images: Images whose answer differs from the recorded prediction.
        alike: Latencies at times with the same planned rates, see `figures.phases`; for a load of
            changing rate.
    """
    changing = load.plan.course is not None
    checks = [
        _check("complete", stop_reason is None, stop_reason or "ran to its end"),
        _enough(load, images, unit, latency, accuracy),
        *(
            [changing_load.schedule(load.plan, requests)]
            if changing
            else _duration(load, throughput)
        ),
        *_answered(requests),
        _check(WRONG_ANSWERS, not wrong_images, f"{wrong_images:,} answers differ from the record"),
        *([] if slo is None else [slo_check(slo), _slo_duration(slo, throughput)]),
        *client_checks(client, latency),
        _steady(load, slo, thirds, alike or []),
        *(
            [_without_stall(np.concatenate(thirds), load.percentile)]
            if load.loop == "closed"
            else []
        ),
    ]
    reasons = [check.detail for check in checks if not check.passed]
    return Validity(valid=not reasons, reasons=reasons, checks=checks)


def slo_check(slo: Slo) -> Check:
    """Check that a latency bound holds with 99 % confidence (MLPerf's early stopping).

    Correlated requests count as fewer independent ones; see `correlation`.
    """
    bound = f"p{slo.percentile:g} within {slo.limit_ms:g} ms"
    if slo.over_allowed is None:
        needed = math.ceil(samples_needed(slo.percentile, 0) * (slo.inflation or 1))
        detail = f"{bound}: {slo.n:,} requests are too few to decide, {needed:,} needed"
    else:
        detail = (
            f"{bound}: {slo.over:,} of {slo.n:,} requests over it, at most {slo.over_allowed:,}"
        )
    if slo.inflation is not None and slo.inflation > 1:
        detail += (
            f", because the requests are correlated and count as {slo.n / slo.inflation:,.0f} "
            f"({correlation.ASSUMPTION})"
        )
    return _check("slo", slo.met, detail)


def _slo_duration(slo: Slo, throughput: Throughput) -> Check:
    return _check(
        "slo-duration",
        slo.duration != "short",
        f"{throughput.window_seconds:.1f} s, at least {QUICK_SECONDS:.0f} s (quick) or "
        f"{FULL_SECONDS:.0f} s (full) needed for a bound: the latencies of a queue are correlated",
    )


def client_checks(client: Client, latency: Latency) -> list[Check]:
    """Return the checks that the load generator kept up with the planned load."""
    checks = [
        _check(
            "client-cpu",
            client.cpu_share <= CPU_SHARE,
            f"the busiest load generator used {100 * client.cpu_share:.0f} % of a core, "
            f"at most {100 * CPU_SHARE:.0f} %; add --processes",
        )
    ]
    lag_ms = client.lag_ms.p99 if client.lag_ms is not None else None
    if lag_ms is not None and latency.p50:
        limit = LAG_SHARE * latency.p50
        checks.append(
            _check(
                "client-lag",
                lag_ms <= limit,
                f"1 % of the requests were sent {lag_ms:.3f} ms late or more, "
                f"at most {limit:.3f} ms "
                f"({100 * LAG_SHARE:.0f} % of the median latency)",
            )
        )
    return checks


def _enough(
    load: SettledLoad, images: int, unit: Unit, latency: Latency, accuracy: Accuracy
) -> Check:
    if load.kind == "offline":
        needed = min(_OFFLINE_IMAGES, images)
        return _check(
            "images",
            accuracy.n >= needed,
            f"{accuracy.n:,} {unit} answered, {needed:,} needed",
        )
    needed = samples_needed(load.percentile)
    return _check(
        "requests",
        latency.n >= needed,
        f"{latency.n:,} requests answered, p{load.percentile:g} needs {needed:,}",
    )


def _duration(load: SettledLoad, throughput: Throughput) -> list[Check]:
    asked = load.plan.duration_seconds
    if asked is None:
        return []
    seconds = throughput.window_seconds
    detail = f"{seconds:.1f} of {asked:g} seconds"
    return [_check("duration", seconds >= _DURATION_SHARE * asked, detail)]


def _answered(requests: Requests) -> list[Check]:
    scheduled = max(1, requests.scheduled)
    failed, missed = requests.failed / scheduled, requests.missed / scheduled
    return [
        _check(
            "failed",
            failed <= FAILED_SHARE,
            f"{requests.failed:,} of {requests.scheduled:,} requests failed, "
            f"at most {100 * FAILED_SHARE:g} %",
        ),
        _check(
            "missed",
            missed <= MISSED_SHARE,
            f"{requests.missed:,} of {requests.scheduled:,} requests were held back by the "
            f"cap of requests under way, at most {100 * MISSED_SHARE:g} %",
        ),
    ]


def _steady(
    load: SettledLoad,
    slo: Slo | None,
    thirds: Sequence[npt.NDArray[np.int64]],
    alike: AlikeLatencies,
) -> Check:
    if load.plan.course is not None:
        return changing_load.stable(load.plan, alike)
    return _bound_kept(thirds, slo) if load.confirms and slo is not None else _stable(thirds)


def _bound_kept(thirds: Sequence[npt.NDArray[np.int64]], slo: Slo) -> Check:
    """Check that each third of a confirmation keeps the bound.

    A confirmation claims its bound and no median. Near capacity the median follows every change of
    the machine's speed: in a queue (M/M/1) at 80 % load, 5 % less speed makes it a third longer.
    """
    values_ns = [percentile(third, slo.percentile) for third in thirds]
    texts = ", ".join("n/a" if ns is None else f"{ns / _NS_PER_MS:.3f}" for ns in values_ns)
    return _check(
        "stable",
        all(ns is not None and ns <= slo.limit_ms * _NS_PER_MS for ns in values_ns),
        f"p{slo.percentile:g} of each third of the run {texts} ms, each has to be within "
        f"{slo.limit_ms:g} ms",
    )


def _stable(thirds: Sequence[npt.NDArray[np.int64]]) -> Check:
    fewest = min(len(third) for third in thirds)
    if fewest < STABLE_REQUESTS:
        detail = f"not judged: {fewest:,} requests in a third of the run, {STABLE_REQUESTS} needed"
        return _check("stable", True, detail)
    medians = [float(np.median(third)) / _NS_PER_MS for third in thirds]
    texts = ", ".join(f"{median:.3f}" for median in medians)
    return _check(
        "stable",
        max(medians) <= STABLE_RATIO * min(medians),
        f"median latency of each third of the run {texts} ms, "
        f"at most {100 * (STABLE_RATIO - 1):.0f} % apart",
    )


def _without_stall(latency_ns: npt.NDArray[np.int64], percent: float) -> Check:
    """Check a closed loop for stalls, which its percentiles hide.

    A caller that waits sends nothing, so that a stall of a second is one slow request instead of
    the thousands that would have met it ("coordinated omission"). HdrHistogram's correction adds
    the requests that were not sent: a request that took k median latencies stands for k of them,
    each sent a median latency later than the one before. The check fails if more of them than the
    percentile leaves out took more than `_STALL_RATIO` times the percentile.

    Args:
        latency_ns: int64, shape (n,).
        percent: The percentile, above 0 and below 100.
    """
    reported = percentile(latency_ns, percent)
    if reported is None:
        detail = f"not judged: {len(latency_ns):,} requests are too few for p{percent:g}"
        return _check("stall", True, detail)
    pace, limit = max(1, int(np.median(latency_ns))), _STALL_RATIO * reported
    slow = latency_ns[latency_ns > limit]
    sent = int(np.maximum(1, latency_ns // pace).sum())
    share = int((1 + (slow - limit) // pace).sum()) / sent
    return _check(
        "stall",
        share <= 1 - percent / 100,
        f"{100 * share:.1f} % of the requests of a steady pace would have taken over "
        f"{limit / _NS_PER_MS:.3f} ms, {_STALL_RATIO} times the p{percent:g} of the closed loop; "
        f"at most {100 - percent:.3g} %",
    )


def _check(name: str, passed: bool, detail: str) -> Check:
    return Check(name=name, passed=passed, detail=detail)
