"""The time that the hypervisor took, from counters that only go up."""

from types import SimpleNamespace

import psutil
import pytest

from loadtest.session import stolen_time
from loadtest.session.stolen_time import StolenTime


@pytest.fixture
def machine(monkeypatch) -> SimpleNamespace:
    """A machine of four cores, with a clock and a counter that tests set."""
    state = SimpleNamespace(now=100.0, steal=7.0)
    monkeypatch.setattr(stolen_time.time, "monotonic", lambda: state.now)
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(steal=state.steal))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    return state


def test_the_share_is_of_all_cores_since_the_beginning(machine):
    """2 s of 10 s on four cores are a twentieth."""
    stolen = StolenTime()
    machine.now += 10
    machine.steal += 2

    assert stolen.share() == pytest.approx(0.05)


def test_a_system_without_the_counter_tells_nothing(machine, monkeypatch):
    """MacOS has no such field."""
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=1.0))
    stolen = StolenTime()
    machine.now += 10

    assert stolen.share() is None


def test_counters_that_go_back_are_no_negative_share(machine):
    """After the move to another host, a machine may count from a lower number."""
    stolen = StolenTime()
    machine.now += 10
    machine.steal -= 3

    assert stolen.share() == 0


@pytest.mark.parametrize("share", [None, 0.0, 0.0099])
def test_little_stolen_time_is_no_warning(share):
    assert stolen_time.note(share) is None


def test_a_hundredth_is_a_warning():
    """One request in a hundred decides the p99."""
    assert "took 1.0 % of the cores' time" in stolen_time.note(0.01)
