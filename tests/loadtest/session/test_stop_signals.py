import os
import signal

import pytest

from loadtest.session import stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_handed_on_with_its_reason(number):
    """Each signal calls the function while the context is open; then the old handlers are back."""
    reasons: list[str] = []
    before = signal.getsignal(number)
    with stop_signals.handled(reasons.append):
        os.kill(os.getpid(), number)

    assert reasons == [f"interrupted by {number.name}"]
    assert signal.getsignal(number) is before


def test_an_ignored_hangup_stays_ignored():
    """With `nohup`, which ignores SIGHUP, a closed terminal does not end a run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        reasons: list[str] = []
        with stop_signals.handled(reasons.append):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert reasons == []
