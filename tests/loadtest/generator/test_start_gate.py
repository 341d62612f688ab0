import asyncio
import time

import pytest

from loadtest.generator import start_gate
from loadtest.generator.start_gate import StartGate


def test_all_runs_start_at_the_same_time(tmp_path):
    """Runs that wait get the same start; the parent sees which ones are ready."""

    async def main() -> list[int]:
        waiting = [asyncio.create_task(StartGate(tmp_path / run).start_ns()) for run in "ab"]
        await asyncio.sleep(0.05)
        assert all(start_gate.is_ready(tmp_path, run) for run in "ab")
        assert not start_gate.is_ready(tmp_path, "c")
        assert not any(task.done() for task in waiting)
        start_gate.open_all(tmp_path, 123_456_789_012)
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [123_456_789_012] * 2


def test_a_run_that_is_stopped_does_not_wait(tmp_path):
    """A stopped run goes on at once, to its report."""

    async def main() -> int:
        gate = StartGate(tmp_path / "a")
        waiting = asyncio.create_task(gate.start_ns())
        await asyncio.sleep(0)
        gate.give_up()
        return await waiting

    assert asyncio.run(main()) <= time.monotonic_ns()


@pytest.mark.parametrize("named", [True, False])
def test_the_parent_process_names_the_gate(tmp_path, named):
    """Without the variable a run has no gate and starts when it is warm."""
    environment = {start_gate.VARIABLE: str(tmp_path / "a")} if named else {}

    assert (start_gate.from_environment(environment) is not None) == named
