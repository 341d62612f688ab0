"""Steps and searches in a session whose runs take no time."""

import asyncio
import contextlib

import pytest
from simulating.simulated_session import FastUpTo, NoteTaker, config_of_a_run

from loadtest.capacity import find
from loadtest.capacity.rate_search import SearchStopped
from loadtest.session.session import Measurement
from loadtest.settings.config import CapacityConfig, GateConfig, UsageError


def trial_of(session: FastUpTo, **settings) -> find._Trial:
    config = CapacityConfig(run=config_of_a_run(**settings))
    return find._Trial(
        config=config, session=session, images=24, watcher=NoteTaker(), clock=lambda: 0.0
    )


def test_a_step_sends_enough_for_a_verdict_and_for_its_time():
    """A step sends at least the 64 requests that a verdict at p90 needs; 2 s at 100/s are 200."""
    session = FastUpTo()
    trial = trial_of(session, percentile=90)

    short = asyncio.run(trial.attempt("probe", 100, 0.1))
    long = asyncio.run(trial.attempt("bisect", 100, 2))

    assert [load.plan.requests for load in session.asked] == [64, 200]
    assert [load.plan.rate_per_second for load in session.asked] == [100, 100]
    assert [load.percentile for load in session.asked] == [90, 90]
    assert (short.phase, long.phase) == ("probe", "bisect")
    assert (short.offered_rate_per_second, long.n) == (100, 200)
    assert short.passed
    assert long.passed
    assert 0 <= long.seconds < 60
    assert trial.last.report.slo.n == 200
    assert session.reasons == []
    steps = ["probe: 64 requests at 100.0/s", "bisect: 200 requests at 100.0/s"]
    assert trial.watcher.notes == [steps[0], "  passed", steps[1], "  passed"]
    assert [run.step for run in trial.watcher.runs] == steps
    assert [run.load for run in trial.watcher.runs] == session.asked
    assert not any(run.correlated for run in trial.watcher.runs)


def test_a_step_is_cut_short_when_its_bound_is_out_of_reach():
    """More requests over the bound than the percentile allows decide a step before its end."""
    session = FastUpTo(limit=50)
    trial = trial_of(session, percentile=90, slo_ms=15)

    step = asyncio.run(trial.attempt("probe", 100, 0.1))

    assert session.reasons == [
        "cut short: 64 requests over 15 ms, at most 1 of 64 for p90",
    ]
    assert not step.passed
    assert trial.watcher.notes[-1] == f"  failed: {step.reason}"
    assert "64 of 64 requests" in step.reason


def test_wrong_answers_and_signals_end_a_search():
    """A step with wrong answers counts, an interrupted one does not."""
    with pytest.raises(SearchStopped) as wrong:
        asyncio.run(trial_of(FastUpTo(differing=1)).attempt("probe", 100, 0.1))
    with pytest.raises(SearchStopped) as interrupted:
        asyncio.run(trial_of(FastUpTo(status="interrupted")).attempt("probe", 100, 0.1))
    gates = GateConfig(max_wrong_answers=1)
    step = asyncio.run(trial_of(FastUpTo(differing=1), gates=gates).attempt("probe", 100, 0.1))

    assert wrong.value.why == "answers"
    assert wrong.value.step.reason == "1 answers differ from the record"
    assert interrupted.value.why == "interrupted"
    assert interrupted.value.step is None
    assert step.passed


def search(monkeypatch, session: FastUpTo, config: CapacityConfig) -> tuple[Measurement, dict]:
    """Return the result of a search in this session, and how the session was opened."""
    opened = {}

    @contextlib.asynccontextmanager
    async def open_session(run, split, load, *, every_query):
        opened.update(run=run, split=split, load=load, every_query=every_query)
        yield session

    monkeypatch.setattr(find, "open_session", open_session)
    load = find.load_without_rate(config, 24)
    images = range(24)
    found = asyncio.run(find.find(config, load, images, NoteTaker()))
    return found, opened


def test_a_search_finds_the_highest_rate_that_passes(monkeypatch):
    """The search doubles the rate until a step fails, bisects to the resolution and confirms."""
    session = FastUpTo(300)
    config = CapacityConfig(
        run=config_of_a_run(percentile=90, floor=True),
        start_rate_per_second=100,
        step_seconds=1,
        confirm_seconds=2,
        resolution_percent=20,
    )

    found, opened = search(monkeypatch, session, config)

    capacity = found.report.capacity
    assert [(step.phase, step.offered_rate_per_second, step.n) for step in capacity.steps] == [
        ("probe", 100, 100),
        ("probe", 200, 200),
        ("probe", 400, 400),
        ("probe", 400, 400),
        ("bisect", 300, 300),
        ("bisect", 350, 350),
        ("bisect", 350, 350),
        ("confirm", 300, 600),
    ]
    assert (capacity.rate_per_second, capacity.confirmed) == (300, True)
    assert (capacity.failed_rate_per_second, capacity.limited_by) == (350, "slo")
    assert (capacity.slo_ms, capacity.percentile) == (1000, 90)
    assert 0 < capacity.seconds < 60
    assert opened["run"] is config.run
    assert opened["split"] == range(24)
    assert opened["every_query"] is True
    assert found.report.floor == ("floor", opened["load"])
    assert found.scores.latency_ns.shape == (600,)
    assert [load.confirms for load in session.asked] == [False] * 7 + [True]


def test_a_search_without_a_start_rate_asks_a_single_caller(monkeypatch):
    """With answers after 1 ms the search starts at 500/s; no floor is measured."""
    session = FastUpTo(3000)
    config = CapacityConfig(run=config_of_a_run(percentile=90), step_seconds=0.1, max_steps=1)

    found, _ = search(monkeypatch, session, config)

    assert found.report.capacity.steps[0].offered_rate_per_second == 500
    assert [step.phase for step in found.report.capacity.steps] == ["probe", "confirm"]
    assert found.report.capacity.limited_by == "steps"
    assert found.report.floor is None


def test_a_search_without_time_for_a_step_is_refused(monkeypatch):
    """If the time allows no step, the error names the setting."""
    config = CapacityConfig(run=config_of_a_run(), start_rate_per_second=100, max_seconds=69)

    with pytest.raises(UsageError, match=r"--max-seconds 69 is over .* 10 s and .* of 60 s must"):
        search(monkeypatch, FastUpTo(), config)
