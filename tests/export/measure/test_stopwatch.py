import pytest

from export.measure import stopwatch


def test_calls_take_turns():
    """After a warm-up each call has one turn per round, and each round starts with another call."""
    made: list[str] = []

    turns = stopwatch.in_turns(
        {name: lambda name=name: made.append(name) for name in "abc"}, rounds=3, seconds=0
    )

    begins = [name for i, name in enumerate(made) if i == 0 or made[i - 1] != name]
    assert {name: len(measured) for name, measured in turns.items()} == dict.fromkeys("abc", 3)
    assert "".join(begins) == "abc" + "abc" + "bca" + "cab"


def test_a_turn_lasts_as_long_as_asked(monkeypatch):
    """A turn of 0.1 s has 10 calls of 10 ms; `ms` and `cpu_ms` are milliseconds per call."""
    clock = {"wall": 0.0, "cpu": 0.0}
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: clock["cpu"])

    def call() -> None:
        clock["wall"] += 0.010
        clock["cpu"] += 0.015

    (turn,) = stopwatch.in_turns({"a": call}, rounds=1, seconds=0.0999)["a"]

    assert turn.calls == 10
    assert turn.ms == pytest.approx(10)
    assert turn.cpu_ms == pytest.approx(15)


def test_slow_calls_are_made_three_times():
    """A turn has at least three calls, however long they take."""
    (turn,) = stopwatch.in_turns({"a": lambda: None}, rounds=1, seconds=0)["a"]

    assert turn.calls == 3
