import asyncio
import itertools

import pytest

from loadtest.capacity.rate_search import RateSearch, SearchStopped
from loadtest.report_schema import CapacityStep


def step(phase: str, rate: float, *, passed: bool, client_limited: bool = False) -> CapacityStep:
    """A step with its verdict; the search reads no other fields."""
    return CapacityStep(
        phase=phase,
        offered_rate_per_second=rate,
        passed=passed,
        reason="",
        client_limited=client_limited,
        **dict.fromkeys(("n", "answered", "failed", "missed", "over", "wrong"), 0),
        **dict.fromkeys(("p50_ms", "percentile_ms", "goodput_per_second", "top1", "lag_p99_ms")),
        client_cpu_share=0.0,
        seconds=1.0,
    )


def search(capacity: float, start: float = 10, **settings: object) -> RateSearch:
    """A search on a server that can answer `capacity` requests a second."""

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        return step(phase, rate, passed=rate <= capacity)

    return run(attempt, start, **settings)


DEFAULTS = {
    "step_seconds": 1,
    "confirm_seconds": 3,
    "resolution": 0.05,
    "max_steps": 60,
    "max_seconds": 1000,
    "clock": lambda: 0.0,
}


def run(attempt, start: float, **settings: object) -> RateSearch:
    found = RateSearch(attempt=attempt, **(DEFAULTS | settings))
    asyncio.run(found.run(start))
    return found


@pytest.mark.parametrize("capacity", [0.7, 10, 333, 4321])
@pytest.mark.parametrize("start", [1, 100, 5000])
def test_the_highest_rate_is_found_from_any_start(capacity, start):
    """The result is at most 5 % below the server's capacity, with the lowest failure just above."""
    found = search(capacity, start)

    assert capacity / 1.05 <= found.rate <= capacity < found.failed
    assert found.failed <= 1.05 * found.rate
    assert [found.rate] == [found.confirmed_rate] == found.found
    assert found.limited_by == "slo"


def test_the_search_doubles_then_bisects_then_confirms():
    """A search from 100 on a server that can answer 330 requests/s records its steps in order."""
    found = search(330, 100, resolution=0.2)

    assert [(taken.phase, taken.offered_rate_per_second) for taken in found.steps] == [
        ("probe", 100),
        ("probe", 200),
        ("probe", 400),
        ("probe", 400),
        ("bisect", 300),
        ("bisect", 350),
        ("bisect", 350),
        ("confirm", 300),
    ]


def test_a_step_that_fails_by_chance_does_not_decide():
    """If the first step at 100 fails and its repetition passes, the rate 100 has passed."""
    tried: list[float] = []

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        tried.append(rate)
        return step(phase, rate, passed=rate <= 300 and tried.count(100) != 1)

    found = run(attempt, 100)

    assert tried[:3] == [100, 100, 200]
    assert found.confirmed_rate == found.rate > 280


def test_a_server_that_carries_nothing_ends_the_search():
    """The rate is halved until one request in ten seconds fails; then the search ends."""
    found = search(0, 100)

    assert (found.rate, found.confirmed_rate) == (None, None)
    assert 0.1 <= found.failed < 0.2


def test_a_confirmation_that_fails_is_repeated_lower():
    """If steps pass up to 100 but confirmations only up to 90.5, the confirmed rate is 90."""

    async def attempt(phase: str, rate: float, seconds: float) -> CapacityStep:
        return step(phase, rate, passed=rate <= (90.5 if seconds > 1 else 100))

    found = run(attempt, 100)

    assert found.rate == found.confirmed_rate == 90
    assert [taken.offered_rate_per_second for taken in found.steps][-2:] == [100, 90]
    assert found.failed == 100


def test_a_rate_that_no_longer_run_confirms_is_not_confirmed():
    """After six failed confirmations the result is a rate that passed a short step only."""

    async def attempt(phase: str, rate: float, seconds: float) -> CapacityStep:
        return step(phase, rate, passed=seconds == 1 and rate <= 100)

    found = run(attempt, 50)

    assert found.confirmed_rate is None
    assert [taken.phase for taken in found.steps].count("confirm") == 6
    assert found.rate == 50
    assert found.rate < found.failed


def test_the_confirmed_rate_is_reported_and_no_higher_probe():
    """If the first confirmation fails, the probes between it and the confirmed rate count no more.

    Steps pass up to 100 requests/s, confirmations up to 91: the probe at 93.75 passed.
    """

    async def attempt(phase: str, rate: float, seconds: float) -> CapacityStep:
        return step(phase, rate, passed=rate <= (91 if seconds > 1 else 100))

    found = run(attempt, 75)

    probes = [s.offered_rate_per_second for s in found.steps if s.phase != "confirm" and s.passed]
    confirmed = found.steps[-1].offered_rate_per_second
    assert any(confirmed < rate for rate in probes)
    assert found.rate == found.confirmed_rate == confirmed


def test_the_median_of_several_searches_is_confirmed():
    """Three searches that find 80, 100 and 60 requests/s confirm 80, once."""
    limits = [80, 100, 60]
    tried: list[tuple[str, float]] = []

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        tried.append((phase, rate))
        return step(phase, rate, passed=phase == "confirm" or rate <= limits[len(found.found)])

    found = RateSearch(**(DEFAULTS | {"attempt": attempt, "searches": 3, "resolution": 0.01}))
    asyncio.run(found.run(70))

    assert found.found == pytest.approx(limits, rel=0.01)
    assert [rate for phase, rate in tried if phase == "confirm"] == [found.found[0]]
    assert found.rate == found.confirmed_rate == found.found[0]
    assert found.failed == min(rate for _, rate in tried if rate > found.rate and rate > 60)


def test_steps_of_each_search_are_limited():
    """Three searches of two steps each, without a limit of the server, and one confirmation."""
    found = search(float("inf"), searches=3, max_steps=2)

    assert [taken.phase for taken in found.steps] == ["probe"] * 6 + ["confirm"]
    assert found.limited_by == "steps"


def test_time_for_the_confirmation_is_kept():
    """A search of 100 s with a confirmation of 60 s takes no step that would end after 40 s.

    At 0.5 requests/s a step of 20 requests takes 40 s, however short it may be.
    """
    seconds = 0.0
    planned = {"probe": 10, "bisect": 10, "confirm": 60}

    async def attempt(phase: str, rate: float, shortest: float) -> CapacityStep:
        nonlocal seconds
        assert shortest == planned[phase]
        seconds += max(shortest, 20 / rate)
        return step(phase, rate, passed=True)

    limits = {"step_seconds": 10, "confirm_seconds": 60, "max_seconds": 100, "min_requests": 20}
    found = run(attempt, 4, clock=lambda: seconds, **limits)
    slow = run(attempt, 0.1, clock=lambda: 0.0, **limits)

    assert [taken.phase for taken in found.steps] == ["probe"] * 4 + ["confirm"]
    assert seconds == 100
    assert found.limited_by == slow.limited_by == "time"
    assert slow.steps == []


@pytest.mark.parametrize(
    ("settings", "limited_by"),
    [({"max_steps": 3}, "steps"), ({"max_seconds": 8, "clock": None}, "time")],
)
def test_the_search_ends_in_bounded_steps_and_time(settings, limited_by):
    """On a server without a limit the number of steps or the time limit ends the search."""
    if "clock" in settings:
        ticks = itertools.count()
        settings = settings | {"clock": lambda: float(next(ticks))}

    found = search(float("inf"), **settings)

    assert found.limited_by == limited_by
    assert len(found.steps) <= 5
    assert found.failed is None


def test_a_failure_of_the_load_generator_is_named():
    """If the load generator limited the lowest failed rate, limited_by is "client"."""

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        return step(phase, rate, passed=rate <= 100, client_limited=rate > 100)

    assert run(attempt, 100).limited_by == "client"


def test_an_interrupted_step_ends_the_search():
    """An interrupted search keeps its earlier steps."""

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        if rate > 300:
            msg = "interrupted"
            raise SearchStopped(msg)
        return step(phase, rate, passed=True)

    found = run(attempt, 100)

    assert [taken.offered_rate_per_second for taken in found.steps] == [100, 200]
    assert (found.rate, found.confirmed_rate) == (200, None)
    assert found.limited_by == "interrupted"


def test_wrong_answers_end_the_search():
    """A step with wrong answers is the last one, because no rate can correct them."""

    async def attempt(phase: str, rate: float, _seconds: float) -> CapacityStep:
        if rate > 300:
            msg = "answers"
            raise SearchStopped(msg, step(phase, rate, passed=False))
        return step(phase, rate, passed=True)

    found = run(attempt, 100)

    assert [taken.offered_rate_per_second for taken in found.steps] == [100, 200, 400]
    assert (found.rate, found.failed, found.confirmed_rate) == (200, 400, None)
    assert found.limited_by == "answers"
