import asyncio
import time
from types import SimpleNamespace

import numpy as np
import pytest

from serving.engine.batching import active_runs
from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.errors import DeadlineExceeded, Unavailable

ROW = {"x": np.zeros((1, 1))}


class UntilTold:
    """A run that goes on until it is terminated."""

    def __init__(self) -> None:
        self.runs = 0
        self.ended = 0

    def __call__(self, _signature, inputs, _outputs, control):
        """Run until terminated, at most 20 s."""
        self.runs += 1
        deadline = time.monotonic() + 20
        while not control.terminated and time.monotonic() < deadline:
            time.sleep(0.005)
        self.ended += 1
        return {"y": inputs["x"]}


@pytest.fixture
def run():
    return UntilTold()


@pytest.fixture
def batcher(run):
    made = Batcher(run, BatchingConfig(), workers=1, name="m/1")
    yield made
    made.close()


def watched(scenario):
    """Run a coroutine function beside `active_runs.watch`."""

    async def both():
        watching = asyncio.create_task(active_runs.watch())
        try:
            return await scenario()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    return asyncio.run(both())


async def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def ask(batcher, deadline=None):
    return asyncio.ensure_future(batcher.run("s", ROW, ["y"], batched=False, deadline=deadline))


def test_a_run_whose_callers_are_gone_is_ended(batcher, run):
    """A run whose only caller cancelled is terminated."""

    async def scenario():
        first = ask(batcher)
        await until(lambda: run.runs == 1)
        first.cancel()
        await until(lambda: run.ended == 1)

    watched(scenario)


def test_a_caller_is_answered_when_its_deadline_passes(batcher, run):
    """A caller is answered at its deadline; the run that nobody waits for is terminated."""

    async def scenario():
        with pytest.raises(DeadlineExceeded, match="deadline passed while m/1 ran"):
            await ask(batcher, deadline=time.monotonic() + 0.2)
        await until(lambda: run.ended == 1)

    watched(scenario)


def test_a_run_that_somebody_waits_for_goes_on(batcher, run):
    """A run whose caller has no deadline is not terminated by `watch`."""

    async def scenario():
        asking = ask(batcher)
        await asyncio.sleep(4 * active_runs.LOOK_SECONDS)
        ended = run.ended
        active_runs.terminate_all(asyncio.get_running_loop())
        with pytest.raises(Unavailable, match="the run of m/1 was ended; retry"):
            await asking
        return ended

    assert watched(scenario) == 0


def test_the_outputs_of_a_terminated_run_are_no_answer(batcher, run):
    """All callers of a terminated run get Unavailable, also if the graph returned outputs.

    The run is not repeated for each caller.
    """

    async def scenario():
        asking = [ask(batcher) for _ in range(2)]
        await until(lambda: run.runs == 1)
        active_runs.terminate_all(asyncio.get_running_loop())
        await until(lambda: run.runs == 2)  # the second request is a run of its own
        active_runs.terminate_all(asyncio.get_running_loop())
        return await asyncio.gather(*asking, return_exceptions=True)

    outcomes = watched(scenario)

    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert run.runs == 2


def test_runs_are_listed_with_their_time(batcher, run):
    """A run in ACTIVE prints as model, signature and seconds, for the log line at a forced exit."""

    async def scenario():
        asking = ask(batcher)
        await until(lambda: run.runs == 1)
        listed = [str(each) for each in active_runs.ACTIVE]
        active_runs.terminate_all(asyncio.get_running_loop())
        await asyncio.gather(asking, return_exceptions=True)
        return listed

    (line,) = watched(scenario)

    assert line.startswith("m/1, s, for 0.")


@pytest.mark.parametrize(
    ("deadlines", "seconds"), [([104.0], 4.0), ([104.0, 109.0], 9.0), ([104.0, None], None)]
)
def test_a_run_may_take_as_long_as_its_most_patient_caller_waits(deadlines, seconds):
    """A run's time limit is the latest deadline of its callers; a caller without one removes it."""
    requests = [SimpleNamespace(deadline=deadline) for deadline in deadlines]
    run = active_runs.ActiveRun("m/1", requests, active_runs.StopFlag(), 100.0)

    run.limit()

    assert run.control.seconds == seconds
