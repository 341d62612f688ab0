import pytest

from loadtest.load.scenarios import SettledLoad, settle
from loadtest.settings.arguments import parse_run
from loadtest.settings.config import UsageError

TARGET = ["--target", "localhost:8500", "--model", "m"]


def load(*flags: str) -> SettledLoad:
    return settle(parse_run([*TARGET, *flags]), 10_000)


@pytest.mark.parametrize(
    ("flags", "settled"),
    [
        ([], ("closed", 1, 1, 99, 10_000)),
        (["--users", "32"], ("closed", 1, 32, 99, 10_000)),
        (["--scenario", "single-stream"], ("closed", 1, 1, 90, 10_000)),
        (["--scenario", "multi-stream"], ("closed", 8, 1, 99, 1_250)),
        (["--scenario", "offline"], ("closed", 64, 4, 99, 157)),
        (["--scenario", "server", "--rate", "5"], ("open", 1, 1024, 99, 10_000)),
        (["--rate", "5", "--in-flight", "9", "--requests", "7"], ("open", 1, 9, 99, 7)),
        (["--rate", "5", "--duration", "7", "--percentile", "95"], ("open", 1, 1024, 95, None)),
    ],
)
def test_scenarios_have_mlperfs_defaults(flags, settled):
    """Without settings a scenario has its own loop, batch, requests under way and percentile."""
    found = load(*flags)

    assert settled == (
        found.loop,
        found.batch,
        found.in_flight,
        found.percentile,
        found.plan.requests,
    )


def test_a_closed_loop_says_so_and_an_open_one_names_its_rate():
    """The description tells N users of a closed loop from a rate of N requests a second."""
    assert load("--users", "3").description == "closed loop, 3 users"
    assert load("--rate", "250").description == "open loop, Poisson arrivals at 250 requests/s"
    assert load().ends == "each of 10,000 test images once"


@pytest.mark.parametrize(("users", "connections"), [("3", 3), ("64", 16)])
def test_connections_are_as_many_as_requests_but_not_more_than_sixteen(users, connections):
    """The default is one connection per request under way, at most 16, at least one per process."""
    assert load("--users", users).connections == connections
    assert load("--users", users, "--connections", "2").connections == 2
    assert load("--users", users, "--connections", "2", "--processes", "3").connections == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--scenario", "server"], "needs --rate"),
        (["--scenario", "offline", "--rate", "5"], "offers no rate"),
        (["--scenario", "server", "--rate", "5", "--users", "3"], "--users given"),
        (["--users", "3", "--in-flight", "2"], "--in-flight given"),
        (["--users", "2", "--processes", "3"], "3 processes for 2 requests"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags, words):
    """A setting that the scenario would ignore raises UsageError."""
    with pytest.raises(UsageError, match=words):
        load(*flags)
