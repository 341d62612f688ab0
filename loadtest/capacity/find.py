"""Measures the highest Poisson rate whose latency stays within a bound, on a live server.

A step passes if the bound holds by MLPerf's early stopping, the number of wrong answers is allowed,
and top-1 reaches its floor. A step that can no longer pass is cut short. A confirmation must be
VALID as well.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from msgspec import structs

from loadtest.capacity.rate_search import RateSearch, SearchStopped
from loadtest.figures.percentiles import over_allowed, percentile, samples_needed
from loadtest.load.plan import Progress
from loadtest.load.scenarios import SettledLoad, settle
from loadtest.report_schema import Capacity, CapacityStep, Phase, Report
from loadtest.report_sections_schema import Check
from loadtest.rows.dataset import Source
from loadtest.session.session import Measurement, Session, open_session
from loadtest.session.watcher import Beginning, Watcher
from loadtest.settings.config import CapacityConfig, LoadTestConfig, UsageError
from loadtest.verdict.validity import WRONG_ANSWERS, client_checks, slo_check

# Requests of the single caller whose rate the search starts from.
_CALLER_REQUESTS = samples_needed(90)
_NS_PER_MS = 1_000_000


async def find(
    config: CapacityConfig, load: SettledLoad, source: Source, watcher: Watcher
) -> Measurement:
    """Search for the rate, and return the last run with the search in its report.

    The last run is normally the confirmation.

    Args:
        config: Settings of the search.
        load: The load of a step at a placeholder rate, see `load_without_rate`.
        source: The rows that are sent.
        watcher: Shows the steps.

    Raises:
        UsageError: The search cannot start, or the time is over before the first step.
    """
    started = time.monotonic()
    async with open_session(config.run, source, load, every_query=True) as session:
        await watcher.brief(session.briefing, config.step_seconds)
        floor = await session.floor(load) if config.run.floor else None
        trial = _Trial(
            config=config,
            session=session,
            images=len(source),
            watcher=watcher,
            clock=lambda: time.monotonic() - started,
        )
        search = RateSearch(
            attempt=trial.attempt,
            searches=config.searches,
            step_seconds=config.step_seconds,
            confirm_seconds=config.confirm_seconds,
            resolution=config.resolution_percent / 100,
            max_steps=config.max_steps,
            max_seconds=config.max_seconds,
            min_requests=samples_needed(load.percentile),
            clock=trial.clock,
        )
        await search.run(config.start_rate_per_second or await trial.start_rate(load))
    if trial.last is None or (search.limited_by == "time" and not search.steps):
        msg = (
            f"--max-seconds {config.max_seconds:g} is over before the first step; a step of "
            f"{config.step_seconds:g} s and a confirmation of {config.confirm_seconds:g} s must "
            "fit in it"
        )
        raise UsageError(msg)
    capacity = _section(config.run, load, search, time.monotonic() - started)
    report = structs.replace(trial.last.report, floor=floor, capacity=capacity)
    return replace(trial.last, report=report)


def load_without_rate(config: CapacityConfig, images: int) -> SettledLoad:
    """Return the load of a step at a placeholder rate.

    Callers use its batch, connections and percentile.

    Raises:
        UsageError: Settings contradict each other.
    """
    rate = config.start_rate_per_second or 1.0
    requests = samples_needed(99)
    return settle(replace(config.run, rate_per_second=rate, requests=requests), images)


@dataclass(kw_only=True)
class _Trial:
    """Runs the steps of a search.

    Attributes:
        config: Settings of the search.
        session: The session that the steps run in.
        images: Number of test images.
        watcher: Shows the steps.
        clock: Returns the seconds since the search began.
        last: Measurement of the last step; None before the first.
    """

    config: CapacityConfig
    session: Session
    images: int
    watcher: Watcher
    clock: Callable[[], float]
    last: Measurement | None = None

    async def start_rate(self, load: SettledLoad) -> float:
        """Measure a single caller that waits for each answer, and return half of its rate."""
        plan = replace(load.plan, rate_per_second=None, in_flight=1, requests=_CALLER_REQUESTS)
        alone = replace(load, loop="closed", in_flight=1, plan=plan)
        self.last = await self.session.measure(self.config.run, alone, lambda _: None)
        median_ms = self.last.report.latency_ms.p50
        return 1.0 if median_ms is None else 0.5 * 1000 / median_ms

    @property
    def _is_over_time(self) -> bool:
        # Steps are planned to end in time; this one waits for a slow server's answers.
        return self.clock() > self.config.max_seconds

    async def attempt(self, phase: Phase, rate: float, seconds: float) -> CapacityStep:
        """Run a step at one rate; see rate_search.Attempt."""
        started = time.monotonic()
        percent = load_without_rate(self.config, self.images).percentile
        # At least as many requests as a verdict needs.
        requests = max(samples_needed(percent), round(rate * seconds))
        allowed = over_allowed(requests, percent) or 0
        run = replace(self.config.run, rate_per_second=rate, requests=requests)
        settled = replace(settle(run, self.images), confirms=phase == "confirm")
        step = f"{phase}: {requests:,} requests at {rate:,.1f}/s"
        self.watcher.note(step)
        self.watcher.begin(Beginning(load=settled, step=step, correlated=phase == "confirm"))

        def on_progress(progress: Progress) -> None:
            self.watcher.show(progress)
            if progress.over > allowed:
                self.session.stop(
                    f"cut short: {progress.over:,} requests over {self.config.run.slo_ms:g} ms, "
                    f"at most {allowed:,} of {requests:,} for p{percent:g}"
                )
            if self._is_over_time:
                self.session.stop(f"cut short: {self.config.max_seconds:g} seconds are over")

        self.last = await self.session.measure(run, settled, on_progress)
        if self.last.report.status == "interrupted":
            raise SearchStopped("interrupted")  # noqa: EM101 - a value of limited_by, no message
        if self.last.report.status == "aborted" and self._is_over_time:
            raise SearchStopped("time")  # noqa: EM101 - a value of limited_by, no message
        seconds = time.monotonic() - started
        row = _step(phase, rate, self.last, self.config.run, seconds)
        self.watcher.note("  passed" if row.passed else f"  failed: {row.reason}")
        if _wrong(self.last.report) > self.config.run.gates.max_wrong_answers:
            # Wrong answers do not depend on the rate, and a rate with wrong answers is no result.
            raise SearchStopped("answers", row)  # noqa: EM101 - a value of limited_by, no message
        return row


def _step(
    phase: Phase, rate: float, measured: Measurement, config: LoadTestConfig, seconds: float
) -> CapacityStep:
    """Return the row of a step that took `seconds`: whether it passed, and the reasons."""
    report = measured.report
    slo, goodput, client = report.slo, report.goodput, report.client
    if slo is None or goodput is None:
        msg = "slo_ms is None, expected a latency bound for the search"
        raise ValueError(msg)
    reasons = _failed(_checks(phase, report, config))
    if phase == "confirm" and not reasons:
        # Other steps are too short to be VALID, but the reported rate must come from a VALID run.
        # `_checks` has judged the answers, with the number of wrong ones that the caller allows.
        reasons = _failed([each for each in report.validity.checks if each.name != WRONG_ANSWERS])
    if report.status == "aborted" and report.stop_reason is not None:
        reasons = [report.stop_reason]
    busy = _failed(client_checks(client, report.latency_ms)) if reasons else []
    value_ns = percentile(measured.scores.latency_ns, slo.percentile)
    requests = report.requests
    return CapacityStep(
        phase=phase,
        offered_rate_per_second=rate,
        passed=not reasons,
        # The reasons of a confirmation may hold the limits of the client already.
        reason="; ".join(dict.fromkeys(reasons + busy)),
        client_limited=bool(busy),
        n=slo.n,
        answered=requests.answered,
        failed=requests.failed,
        missed=requests.missed,
        over=slo.over,
        p50_ms=report.latency_ms.p50,
        percentile_ms=None if value_ns is None else value_ns / _NS_PER_MS,
        goodput_per_second=goodput.per_second,
        top1=report.accuracy.top1,
        wrong=requests.wrong,
        client_cpu_share=client.cpu_share,
        lag_p99_ms=None if client.lag_ms is None else client.lag_ms.p99,
        seconds=seconds,
        cut_short=report.status == "aborted",
    )


def _checks(phase: Phase, report: Report, config: LoadTestConfig) -> list[Check]:
    slo = report.slo
    if slo is not None and phase != "confirm":
        # A few seconds cannot tell how far requests are correlated; the confirmation decides.
        allowed = over_allowed(slo.n, slo.percentile)
        met = allowed is not None and slo.over <= allowed
        slo = structs.replace(slo, over_allowed=allowed, met=met, inflation=None)
    checks = [] if slo is None else [slo_check(slo)]
    wrong, interval = _wrong(report), report.accuracy.wilson_95
    checks.append(
        Check(
            name=WRONG_ANSWERS,
            passed=wrong <= config.gates.max_wrong_answers,
            detail=f"{wrong:,} answers differ from the record",
        )
    )
    floor = config.gates.min_accuracy
    if floor is not None:
        checks.append(
            Check(
                name="accuracy",
                # A short step sends few images, so it fails only if its whole interval is below.
                passed=interval is not None and interval[1] >= floor,
                detail=f"top-1 at most {100 * (interval or (0, 0))[1]:.2f} %, "
                f"at least {100 * floor:g} % wanted",
            )
        )
    return checks


def _wrong(report: Report) -> int:
    """Return the number of images whose answer differs from the record."""
    mismatches = report.mismatches
    return 0 if mismatches is None else mismatches.differing


def _failed(checks: list[Check]) -> list[str]:
    return [check.detail for check in checks if not check.passed]


def _section(
    config: LoadTestConfig, load: SettledLoad, search: RateSearch, seconds: float
) -> Capacity:
    return Capacity(
        rate_per_second=search.rate,
        confirmed=search.confirmed_rate is not None,
        limited_by=search.limited_by,
        failed_rate_per_second=search.failed,
        slo_ms=config.slo_ms or 0.0,
        percentile=load.percentile,
        min_accuracy=config.gates.min_accuracy,
        steps=search.steps,
        searches=search.found,
        seconds=seconds,
    )
