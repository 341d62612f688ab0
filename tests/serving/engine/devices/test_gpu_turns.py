import threading
from contextlib import ExitStack

import pytest

from serving.engine.devices.gpu_turns import GpuTurns


class Beside:
    """A thread that uses the GPU beside the test's thread until it is told to stop."""

    def __init__(self, turns: GpuTurns) -> None:
        self.entered, self.stop = threading.Event(), threading.Event()
        self._turns = turns
        self.thread = threading.Thread(target=self._use, daemon=True)
        self.thread.start()

    def _use(self) -> None:
        with self._turns.shared():
            self.entered.set()
            self.stop.wait(20)


def test_runs_share_the_gpu():
    """Several threads may run at the same time."""
    turns = GpuTurns()
    other = Beside(turns)
    assert other.entered.wait(20)

    with turns.shared():
        assert other.thread.is_alive()
    other.stop.set()
    other.thread.join(20)


def test_a_capture_waits_for_the_runs_and_keeps_others_off():
    """A capture begins when the last run has ended, and runs wait until it has ended."""
    turns = GpuTurns()
    earlier = Beside(turns)
    assert earlier.entered.wait(20)
    threading.Timer(0.05, earlier.stop.set).start()

    with turns.alone(20):
        ended = earlier.stop.is_set()
        later = Beside(turns)
        entered = later.entered.wait(0.1)
    entered_afterwards = later.entered.wait(20)
    later.stop.set()

    assert ended
    assert not entered
    assert entered_afterwards


def test_a_capture_gives_up_if_a_run_goes_on():
    """A run that does not end makes the capture fail; then runs go on as before."""
    turns = GpuTurns()
    other = Beside(turns)
    assert other.entered.wait(20)

    with (
        pytest.raises(TimeoutError, match="other runs used the GPU for more than 0 s"),
        turns.alone(0.01),
    ):
        pass
    with turns.shared():
        other.stop.set()
    other.thread.join(20)
    with turns.alone(20):
        pass


def test_captures_wait_for_each_other():
    """Two threads never capture at the same time."""
    turns = GpuTurns()
    with turns.alone(1), ExitStack() as stack, pytest.raises(TimeoutError):
        stack.enter_context(turns.alone(0.01))


@pytest.mark.parametrize("turn", ["shared", "alone"])
def test_an_error_ends_the_turn(turn):
    """A turn ends with its block, also if the block raises."""
    turns = GpuTurns()
    with (
        pytest.raises(ZeroDivisionError),
        turns.shared() if turn == "shared" else turns.alone(1),
    ):
        1 / 0  # noqa: B018 - raises

    with turns.alone(1):
        pass
