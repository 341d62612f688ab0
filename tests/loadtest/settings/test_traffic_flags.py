from pathlib import Path

import pytest

from loadtest.settings.arguments import parse_capacity, parse_run

TARGET = ["--target", "localhost:8500", "--model", "m"]


def test_the_flags_are_settings_of_a_run():
    """A run has shape, replay and speed; a constant shape is no shape."""
    shaped = parse_run([*TARGET, "--shape", "ramp:5..9", "--duration", "4"])
    replayed = parse_run([*TARGET, "--replay", "day.csv", "--speed", "0.5"])
    constant = parse_run([*TARGET, "--shape", "constant", "--rate", "5"])

    assert (shaped.shape.kind, shaped.shape.numbers) == ("ramp", (5, 9))
    assert (replayed.replay, replayed.speed) == (Path("day.csv"), 0.5)
    assert constant.shape is None


def test_a_run_is_named_after_its_course():
    """The default name has the kind of the shape, or the replay and its speed."""
    assert parse_run([*TARGET, "--shape", "day:1..9", "--duration", "4"]).name == "m-server-day"
    assert parse_run([*TARGET, "--replay", "f.csv", "--speed", "2"]).name == "m-server-replay-x2"
    assert parse_run([*TARGET, "--rate", "5"]).name == "m-server-5"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--shape", "ramp:5"], "expected ramp:FROM..TO"),
        (["--replay", "f.csv", "--speed", "0.4"], "expected a speed of 0.5 to 4"),
        (["--replay", "f.csv", "--speed", "4.1"], "expected a speed of 0.5 to 4"),
        (["--replay", "f.csv", "--speed", "fast"], "expected a speed of 0.5 to 4"),
    ],
)
def test_wrong_values_are_refused(flags, words, capsys):
    """A wrong value ends with one line and exit code 2."""
    with pytest.raises(SystemExit) as refused:
        parse_run([*TARGET, *flags])

    assert refused.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flag", ["--shape=ramp:1..2", "--replay=f.csv", "--speed=2"])
def test_a_search_refuses_them_with_the_reason(flag, capsys):
    """find-capacity says in one line that its steps have constant rates."""
    with pytest.raises(SystemExit) as refused:
        parse_capacity([*TARGET, "--slo-ms", "5", flag])

    (line,) = capsys.readouterr().err.splitlines()
    assert refused.value.code == 2
    assert "a search has steps of constant rates" in line
