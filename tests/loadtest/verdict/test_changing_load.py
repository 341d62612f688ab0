"""The rules of validity for a load whose rate changes."""

import numpy as np
import pytest
from sample_results.load_reports import changed, report

from loadtest.load.scenarios import SettledLoad, settle
from loadtest.settings.arguments import parse_run
from loadtest.verdict import changing_load, validity

MS = 1_000_000


def load(*flags: str) -> SettledLoad:
    return settle(parse_run(["--target", "localhost:1", "--model", "m", *flags]), 10_000)


RAMP = ("--shape", "ramp:50..200", "--duration", "8")
STEPS = ("--shape", "steps:50,200", "--duration", "8")


def verdict(shaped: SettledLoad, *, missing: int = 0, **changes):
    """Judge a good run of 1,000 requests with this load, of whose schedule some are missing."""
    made = report(kind="server", rate=100, n=1000)
    made = changed(made, {"client.cpu_share": 0.2, "client.lag_ms.p99": 0.05})
    drawn = len(shaped.plan.schedule())
    settings = {
        "stop_reason": None,
        "images": 10_000,
        "requests": changed(made, {"requests.scheduled": drawn - missing}).requests,
        "latency": made.latency_ms,
        "throughput": made.throughput,
        "accuracy": made.accuracy,
        "slo": None,
        "client": made.client,
        # The thirds of a load that doubles its latency.
        "thirds": [np.full(300, ms * MS) for ms in (1, 2, 4)],
        "wrong_images": 0,
    }
    return validity.judge(shaped, **(settings | changes))


def failing(found) -> list[str]:
    return [check.name for check in found.checks if not check.passed]


def test_thirds_of_a_ramp_are_not_compared():
    """A ramp whose latency rises with the rate is VALID; a steady load with such thirds is not."""
    steady = load("--rate", "100", "--requests", "1000")

    ramp = verdict(load(*RAMP))

    assert failing(ramp) == []
    (stable,) = (check for check in ramp.checks if check.name == "stable")
    assert stable.detail == "not judged: a ramp has no two parts with the same planned rates"
    assert failing(verdict(steady)) == ["stable"]


def test_times_of_the_same_rate_must_have_the_same_latency():
    """A step whose second half takes twice as long is not stable; steps may differ."""
    even = [("the halves of step 1", [np.full(60, 1 * MS)] * 2)]
    even += [("the halves of step 2", [np.full(60, 9 * MS)] * 2)]
    uneven = [*even, ("the halves of step 3", [np.full(60, 1 * MS), np.full(60, 2 * MS)])]
    few = [("the halves of step 1", [np.full(49, 1 * MS), np.full(60, 2 * MS)])]

    assert failing(verdict(load(*STEPS), alike=even)) == []
    assert failing(verdict(load(*STEPS), alike=few)) == []
    found = verdict(load(*STEPS), alike=uneven)
    assert failing(found) == ["stable"]
    assert "the halves of step 3 1.000, 2.000 ms; at most 25 % apart" in found.reasons[0]
    assert "step 1" not in found.reasons[0]


def test_every_request_of_the_schedule_must_have_been_due():
    """`schedule` takes the place of `duration`, which a shape that ends slowly could miss."""
    shaped = load(*RAMP)
    short = changed(report(kind="server", rate=100, n=1000), {"throughput.window_seconds": 5.0})

    assert failing(verdict(shaped, throughput=short.throughput)) == []
    assert failing(verdict(shaped, missing=1)) == ["schedule"]
    assert "duration" not in {check.name for check in verdict(shaped).checks}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (RAMP, "stable does not compare the thirds of the run, but is not judged, because no two"),
        (STEPS, "compares times with the same planned rates (the halves of step 1, 50/s, ...)"),
    ],
)
def test_the_report_says_which_rules_are_replaced(flags, words):
    """The note names the rule, what it does instead, and why; a steady load has none."""
    note = changing_load.note(load(*flags).plan)

    assert words in note
    assert "duration is replaced by schedule" in note
    assert changing_load.note(load("--rate", "5").plan) is None
