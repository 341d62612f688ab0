"""Availability, outages and time to recover of simulated runs."""

import asyncio

import numpy as np
import pytest
from simulating import virtual_time

from loadtest.figures.availability import availability
from loadtest.figures.scoring import Scores
from loadtest.generator.generator import Generator
from loadtest.generator.recording import Recording
from loadtest.load.plan import Plan
from loadtest.report_sections_schema import Availability


class _Refused(Exception):
    """The simulated server cannot be reached."""


class _Server:
    """A simulated server that answers after `latency` seconds and is down at some times.

    While it is down it refuses connections; while it hangs, requests wait until it goes on.
    """

    failures = (_Refused,)

    def __init__(self, *, latency=0.005, down=(), hangs=()) -> None:
        self.latency, self.down, self.hangs = latency, down, hangs
        self.origin = 0.0

    def lane(self, _number: int):
        return self.answer

    def explain(self, error: BaseException) -> tuple[str, str]:
        return "UNAVAILABLE", str(error)

    async def answer(self, body: bytes) -> bytes:
        now = asyncio.get_running_loop().time() - self.origin
        if any(start <= now < end for start, end in self.down):
            await asyncio.sleep(0.0002)
            raise _Refused
        for start, end in self.hangs:
            if start <= now < end:
                await asyncio.sleep(end - now)
        await asyncio.sleep(self.latency)
        return body


@pytest.fixture
def simulate(monkeypatch):
    """Returns the availability of a load on a simulated server, in virtual time."""

    def run(server: _Server, **settings: object) -> tuple[Availability, Recording]:
        plan = {
            "in_flight": 4,
            "rate_per_second": None,
            "requests": None,
            "duration_seconds": 10.0,
            "warmup_requests": 0,
            "schedule_seed": 0,
            "timeout_seconds": 10.0,
            "slo_ms": None,
            "abort_after_errors": 0,
        }

        async def main() -> Recording:
            loop = asyncio.get_running_loop()
            server.origin = loop.time()
            generator = Generator(Plan(**plan | settings), server, [b"a"], connections=1)
            await generator.warm_up()
            server.origin = loop.time()
            return await generator.run(round(loop.time() * 1e9))

        recording = virtual_time.run(main(), monkeypatch)
        open_loop = settings.get("rate_per_second") is not None
        return availability(recording, scores(recording), open_loop=open_loop), recording

    return run


def scores(recording: Recording, wrong: tuple[int, ...] = ()) -> Scores:
    """Scores by which every answer is right, except those at the places `wrong`."""
    rows = np.flatnonzero(recording.outcomes >= 0)
    places = np.zeros((len(rows), 1), np.int64)
    differs = np.isin(np.arange(len(rows)), wrong)[:, None]
    return Scores(
        rows=rows,
        latency_ns=(recording.end_ns - recording.due_ns)[rows],
        images=places,
        classes=places,
        labels=places,
        differs=differs,
        near_tie=np.zeros_like(differs),
        model_versions=np.ones(len(rows), np.int64),
        output=None,
        errors={},
    )


LOADS = [
    pytest.param({}, id="closed"),
    pytest.param({"rate_per_second": 200.0, "in_flight": 1024}, id="open"),
    pytest.param({"rate_per_second": 200.0, "in_flight": 8}, id="open-few-in-flight"),
]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("kind", ["down", "hangs"])
def test_an_outage_is_as_long_as_it_was(simulate, load, kind):
    """Three of ten seconds without a server are one outage of 3 s, and recovered after 3 s."""
    found, _ = simulate(_Server(**{kind: [(4, 7)]}), **load)

    (outage,) = found.outages
    assert outage == found.longest_outage
    assert outage.start_seconds == pytest.approx(4, abs=0.05)
    assert outage.end_seconds == pytest.approx(7, abs=0.05)
    assert outage.seconds == found.outage_seconds == pytest.approx(3, abs=0.1)
    assert found.time_to_recover_seconds == pytest.approx(3, abs=0.1)
    assert found.recovered


@pytest.mark.parametrize("load", LOADS[:2])
def test_three_tenths_of_downtime_are_seventy_percent(simulate, load):
    """Callers that wait do not make it better, callers that are refused at once not worse."""
    found, recording = simulate(_Server(down=[(4, 7)]), **load)

    assert found.share == pytest.approx(0.7, abs=0.03)
    assert found.good == (recording.outcomes >= 0).sum()
    assert found.requests == recording.sent + found.withheld
    assert (found.withheld > 0) == (load == {})


def test_a_waiting_caller_does_not_hide_an_outage(simulate):
    """One caller sends one request while the server hangs for 3 s; the others are counted."""
    found, recording = simulate(_Server(hangs=[(4, 7)]), in_flight=1)

    assert (recording.outcomes >= 0).all()
    assert found.withheld == pytest.approx(3 / 0.005, rel=0.02)
    assert found.share == pytest.approx(0.7, abs=0.01)


def test_refused_callers_wait_as_long_as_an_answer_took(simulate):
    """A slow server that refuses connections gets no more requests than before."""
    _, recording = simulate(_Server(latency=0.1, down=[(4, 7)]), in_flight=1)

    assert (recording.outcomes < 0).sum() == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("latency", "load"),
    [
        pytest.param(0.005, {}, id="closed"),
        pytest.param(2.0, {"in_flight": 1, "duration_seconds": 60.0}, id="slow"),
        pytest.param(0.005, {"rate_per_second": 0.5, "duration_seconds": 60.0}, id="rare"),
    ],
)
def test_a_server_that_answers_has_no_outage(simulate, latency, load):
    """Neither slow answers nor long times without any request are outages."""
    found, recording = simulate(_Server(latency=latency), **load)

    assert recording.finished > 10
    assert found.outages == []
    assert found.longest_outage is None
    assert (found.share, found.withheld, found.outage_seconds) == (1.0, 0, 0.0)
    assert found.time_to_recover_seconds is None
    assert found.recovered


@pytest.mark.parametrize("load", LOADS[:2])
def test_a_server_that_fails_again_has_not_recovered_before(simulate, load):
    """Two outages 0.4 s apart are recovered from together; one 2 s later is another one."""
    found, _ = simulate(_Server(down=[(2, 3), (3.4, 4.4), (6.4, 7)]), **load)

    lengths = [outage.seconds for outage in found.outages]
    assert lengths == pytest.approx([1, 1, 0.6], abs=0.06)
    assert found.time_to_recover_seconds == pytest.approx(2.4, abs=0.06)


@pytest.mark.parametrize("load", LOADS[:2])
def test_a_server_that_does_not_come_back_has_not_recovered(simulate, load):
    """The outage has no end, lasts until the end of the run, and there is no time to recover."""
    found, _ = simulate(_Server(down=[(4, 100)]), **load)

    (outage,) = found.outages
    assert outage.end_seconds is None
    assert outage.seconds == pytest.approx(6, abs=0.1)
    assert not found.recovered
    assert found.time_to_recover_seconds is None


def test_a_server_that_was_never_there_is_one_outage(simulate):
    """Without any good answer availability is 0 and nothing is extrapolated."""
    found, recording = simulate(_Server(down=[(0, 100)]), duration_seconds=2.0)

    assert found.good == found.withheld == 0
    assert found.share == 0.0
    assert found.requests == recording.finished
    assert found.longest_outage.seconds == pytest.approx(2, abs=0.1)


def test_a_single_failure_is_no_outage(simulate):
    """A short failure lowers availability and has a time to recover, but is no outage."""
    found, _ = simulate(_Server(down=[(4, 4.1)]), rate_per_second=200.0, in_flight=64)

    assert found.outages == []
    assert found.share < 1
    assert 0 < found.time_to_recover_seconds < 0.2


def test_wrong_answers_are_no_success(simulate):
    """An answer that differs from the record does not count as good."""
    _, recording = simulate(_Server())

    found = availability(recording, scores(recording, (3, 4)), open_loop=False)

    assert found.good == recording.finished - 2
    assert found.requests == recording.finished
    assert found.outages == []


def test_a_run_without_requests_has_no_share(simulate):
    """Nothing was sent: there is neither a share nor an outage."""
    found, _ = simulate(_Server(), rate_per_second=0.001, duration_seconds=0.001)

    assert (found.requests, found.share, found.outages) == (0, None, [])
    assert found.recovered
