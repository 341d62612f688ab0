import pytest

from loadtest.settings.arguments import parse_capacity, parse_run

TARGET = ["--target", "localhost:8500", "--model", "m"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rate", "0"], "above 0"),
        (["--slo-ms", "-1"], "above 0"),
        (["--percentile", "100"], "below 100"),
        (["--min-accuracy", "82"], "0 to 1"),
        (["--max-wrong-answers", "-1"], "0 or more"),
        (["--duration", "inf"], "above 0"),
        (["--requests", "9", "--duration", "9"], "not allowed with"),
        (["--transport", "smoke-signals"], "invalid choice"),
    ],
)
def test_wrong_values_are_refused_with_what_was_expected(flags, words, capsys):
    """A wrong value ends with exit code 2 and argparse's line with the expected value."""
    with pytest.raises(SystemExit) as refused:
        parse_run([*TARGET, *flags])

    assert refused.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_name_cannot_lead_elsewhere():
    """Slashes in a name are replaced, because the name becomes part of a path."""
    config = parse_run([*TARGET, "--name", "../../etc/passwd | x"])

    assert config.name == "../../etc/passwd | x"
    assert config.output_dir.parent.name == "results"
    assert "/" not in config.output_dir.name


def test_a_search_knows_its_settings():
    """find-capacity requires a bound; all other settings have defaults."""
    config = parse_capacity(
        [*TARGET, "--slo-ms", "15", "--max-steps", "3", "--min-accuracy", "0.8"]
    )

    assert (config.run.slo_ms, config.run.scenario) == (15, "server")
    assert (config.max_steps, config.step_seconds, config.start_rate_per_second) == (3, 10, None)
    assert config.run.gates.min_accuracy == 0.8
