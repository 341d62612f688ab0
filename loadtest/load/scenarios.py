"""The load scenarios: MLPerf's four, and `users`; each gives defaults to settings left open.

single-stream: one image in a request, the next request when the last one is answered.
multi-stream: the same with eight images in a request. server: Poisson arrivals at a rate.
offline: all images in large batches, a fixed number of requests under way. users: N callers; each
waits for its answer before it sends the next request.
A shape or a replay takes the place of the rate of server; see `course`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest.load import course
from loadtest.load.course import Course
from loadtest.load.plan import Plan
from loadtest.load.replay import Replay
from loadtest.report_schema import Loop, ScenarioKind
from loadtest.settings.config import LoadTestConfig, UsageError

_MAX_DEFAULT_CONNECTIONS = 16


@dataclass(frozen=True)
class _Defaults:
    """A scenario's loop, and its values for settings that are not given.

    Attributes:
        loop: "open" or "closed".
        batch: Images in a request.
        in_flight: Requests under way.
        percentile: Latency percentile that the latency bound and the rules of validity apply to.
    """

    loop: Loop
    batch: int
    in_flight: int
    percentile: float


_DEFAULTS: dict[ScenarioKind, _Defaults] = {
    "single-stream": _Defaults("closed", 1, 1, 90),
    "multi-stream": _Defaults("closed", 8, 1, 99),
    "server": _Defaults("open", 1, 1024, 99),
    "offline": _Defaults("closed", 64, 4, 99),
    "users": _Defaults("closed", 1, 1, 99),
}


@dataclass(frozen=True, kw_only=True)
class SettledLoad:
    """A scenario with every number decided; report_schema.Scenario describes the fields.

    `images` are the images of each request of a replay, see Replay; None for all images in turn.
    `confirms` marks the confirmation of a search, whose one claim is the latency bound.
    """

    kind: ScenarioKind
    loop: Loop
    description: str
    ends: str
    users: int | None
    batch: int
    in_flight: int
    connections: int
    percentile: float
    plan: Plan
    images: npt.NDArray[np.int64] | None = None
    confirms: bool = False


def settle(config: LoadTestConfig, images: int, noun: str = "test images") -> SettledLoad:
    """Return the load of a run, with the scenario's defaults for settings that are None.

    Args:
        config: Settings of a run.
        images: Number of test images, or of other rows.
        noun: What they are, in words.

    Raises:
        UsageError: Settings contradict each other.
    """
    is_open = any((config.rate_per_second, config.shape, config.replay))
    kind = config.scenario or ("server" if is_open else "users")
    course.check(config, kind)
    _check(config, kind)
    defaults = _DEFAULTS[kind]
    planned = course.read(config)
    replay = planned if isinstance(planned, Replay) else None
    batch = config.batch or (replay.batch if replay else None) or defaults.batch
    in_flight = config.users or config.in_flight or defaults.in_flight
    requests, ends = config.requests, f"{config.requests or 0:,} requests"
    if replay is not None:
        requests = len(replay.due_ns)
        ends = f"{replay.seconds:.1f} seconds"
        _check_images(replay, images)
    elif planned is not None:  # its words have the duration
        ends = f"{len(planned.arrivals(config.schedule_seed)):,} requests"
    elif config.duration_seconds is not None:
        ends = f"{config.duration_seconds:g} seconds"
    elif requests is None:
        requests = -(-images // batch)
        ends = f"each of {images:,} {noun} once"
    rate = config.rate_per_second if planned is None else planned.mean_rate
    return SettledLoad(
        kind=kind,
        loop=defaults.loop,
        description=_description(kind, in_flight, rate, planned),
        ends=ends,
        users=in_flight if kind == "users" else None,
        batch=batch,
        in_flight=in_flight,
        connections=max(
            config.processes, config.connections or min(in_flight, _MAX_DEFAULT_CONNECTIONS)
        ),
        percentile=config.percentile or defaults.percentile,
        plan=Plan(
            in_flight=in_flight,
            rate_per_second=rate,
            course=planned,
            requests=requests,
            duration_seconds=config.duration_seconds,
            warmup_requests=config.warmup_requests,
            schedule_seed=config.schedule_seed,
            timeout_seconds=config.timeout_seconds,
            slo_ms=config.slo_ms,
            abort_after_errors=config.abort_after_errors,
        ),
        images=None if replay is None else replay.images,
    )


def _check(config: LoadTestConfig, kind: ScenarioKind) -> None:
    """Raise UsageError for a setting that the scenario does not use, rather than ignore it."""
    if kind != "users" and config.users is not None:
        msg = f"--users given, but scenario {kind} has none; use --scenario users"
        raise UsageError(msg)
    if kind not in {"server", "offline"} and config.in_flight is not None:
        msg = f"--in-flight given, but scenario {kind} has a fixed number; use server or offline"
        raise UsageError(msg)
    in_flight = config.users or config.in_flight or _DEFAULTS[kind].in_flight
    if in_flight < config.processes:
        msg = (
            f"{config.processes} processes for {in_flight} requests under way, expected at most "
            "one process for each"
        )
        raise UsageError(msg)


def _check_images(replay: Replay, images: int) -> None:
    """Raise UsageError for an image that the test images do not have."""
    if replay.images is not None and (last := int(replay.images.max())) >= images:
        msg = (
            f"{replay.source} names test image {last}, but there are {images:,}, numbered from 0; "
            "expected the images with which it was recorded"
        )
        raise UsageError(msg)


def _description(
    kind: ScenarioKind, in_flight: int, rate: float | None, planned: Course | None
) -> str:
    if planned is not None:
        arrivals = "" if isinstance(planned, Replay) else "Poisson arrivals, "
        return f"open loop, {arrivals}{planned.words}"
    if rate is not None:
        return f"open loop, Poisson arrivals at {rate:g} requests/s"
    if kind == "users":
        return f"closed loop, {in_flight} user{'s' if in_flight > 1 else ''}"
    if kind == "offline":
        return f"closed loop, {in_flight} request{'s' if in_flight > 1 else ''} under way"
    return "closed loop, one request at a time"
