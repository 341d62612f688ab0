import os
import threading

import pytest

from loadtest.generator import realtime

POLICIES = {os.SCHED_OTHER: "normal", os.SCHED_BATCH: "batch", os.SCHED_RR: "real-time"}


def policy() -> str:
    """Return the policy of the calling thread."""
    return POLICIES[os.sched_getscheduler(0)]


def in_a_thread(what) -> list:
    """Return what `what` returns in a thread that it may change."""
    found = []
    thread = threading.Thread(target=lambda: found.append(what()))
    thread.start()
    thread.join()
    return found


@pytest.mark.skipif(realtime.refusal() is not None, reason="needs CAP_SYS_NICE")
def test_threads_that_start_later_have_the_priority():
    """A generator's own threads have the priority of the thread that starts them."""

    def raised() -> tuple[str, list[str]]:
        realtime.raise_priority()
        return policy(), in_a_thread(policy)

    assert in_a_thread(raised) == [("real-time", ["real-time"])]


def test_the_trial_changes_no_priority():
    """To ask whether real-time priority is allowed does not take it."""
    before = policy()

    realtime.refusal()

    assert policy() == before


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), AttributeError()])
def test_a_refusal_is_told(monkeypatch, error):
    """The kernel's reason is returned, also by an operating system without such a priority."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    assert realtime.refusal() == str(error)
    assert f"had normal priority ({error})" in realtime.note()


@pytest.mark.skipif(realtime.refusal() is not None, reason="needs CAP_SYS_NICE")
def test_a_run_with_the_priority_has_no_warning():
    """Where the kernel allows the priority there is nothing to say."""
    assert realtime.note() is None
