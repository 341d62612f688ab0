import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from simulating.fake_sender import BODIES, Refused, constant

from loadtest.generator.generator import Generator
from loadtest.generator.recording import Recording
from loadtest.load.plan import Share
from loadtest.transports.sender import TimedResponse

MS = 1_000_000


def pausing(seconds: float, *, start: float, end: float) -> Callable[[bytes], Awaitable[bytes]]:
    """A server like `constant` that does nothing from `start` to `end` (seconds of the run)."""
    origin: list[float] = []

    async def answer(body: bytes) -> bytes:
        now = asyncio.get_running_loop().time()
        origin[:] = origin or [now]
        elapsed = now - origin[0]
        await asyncio.sleep(end - elapsed if start <= elapsed < end else 0)
        await asyncio.sleep(seconds)
        return body

    return answer


def latencies_ms(recording: Recording) -> np.ndarray:
    return np.sort(recording.end_ns - recording.due_ns) / MS


@pytest.mark.parametrize(
    "load",
    [
        pytest.param({"requests": 1000}, id="closed"),
        pytest.param({"rate_per_second": 200, "requests": 1000, "in_flight": 64}, id="open"),
    ],
)
def test_a_constant_delay_is_measured_as_it_is(generate, load):
    """A server that answers every request after 5 ms gives latencies of exactly 5 ms."""
    recording = generate(constant(0.005), **load)

    assert recording.finished == 1000
    assert latencies_ms(recording) == pytest.approx(5, abs=0.002)


def test_a_pause_shows_in_an_open_loop_and_hides_in_a_closed_one(generate):
    """A pause of 1 s in 10 delays a tenth of an open loop, but one request of a waiting caller."""
    open_loop = generate(
        pausing(0.005, start=4, end=5), rate_per_second=200, duration_seconds=10, in_flight=1024
    )
    closed_loop = generate(pausing(0.005, start=4, end=5), duration_seconds=10)

    late = latencies_ms(open_loop)
    assert np.percentile(late, 99) == pytest.approx(900, abs=60)
    assert np.mean(late > 6) == pytest.approx(0.1, abs=0.03)
    hidden = latencies_ms(closed_loop)
    assert np.percentile(hidden, 99) == pytest.approx(5, abs=0.01)
    assert (hidden > 6).sum() == 1


def test_latency_counts_from_the_due_time(generate):
    """If the load generator stalls, the delay is part of the latency and is shown as lag."""

    async def stall(_generator: Generator) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1)
        loop.clock.now_seconds += 0.5  # nothing runs meanwhile, as if the process were stopped

    recording = generate(
        constant(0.001), rate_per_second=100, duration_seconds=3, in_flight=500, meddle=stall
    )

    lag_ms = (recording.sent_ns - recording.due_ns) / MS
    assert lag_ms.max() > 400
    assert latencies_ms(recording).max() == pytest.approx(lag_ms.max() + 1, abs=0.01)
    assert recording.missed_due_ns.size == 0


def test_requests_over_the_cap_are_missed_and_not_sent_later(generate):
    """With a cap of two and 1 s per request, 2 of 100 requests/s are sent, the others missed."""
    recording = generate(constant(1), rate_per_second=100, duration_seconds=2, in_flight=2)

    assert recording.in_flight_max == 2
    assert recording.finished == recording.sent
    assert recording.sent in {4, 5}
    assert recording.sent + len(recording.missed_due_ns) == pytest.approx(200, abs=45)
    numbers = [*recording.numbers, *recording.missed_numbers]
    assert sorted(numbers) == list(range(len(numbers)))
    assert (np.diff(recording.missed_due_ns) > 0).all()
    assert latencies_ms(recording) == pytest.approx(1000, abs=0.01)


def test_a_closed_loop_keeps_as_many_requests_under_way_as_it_has_users(generate):
    """Four users with 10 ms per request send 400 requests/s, and the bodies in turn."""
    recording = generate(constant(0.01), in_flight=4, duration_seconds=1)

    assert recording.in_flight_max == 4
    assert recording.finished == pytest.approx(400, abs=4)
    assert sorted(recording.numbers) == list(range(recording.finished))
    answers = [recording.responses[outcome] for outcome in recording.outcomes]
    expected = [b"answer to " + BODIES[number % 3] for number in recording.numbers]
    assert answers == expected


@pytest.mark.parametrize("rate", [None, 500.0])
def test_shares_are_the_whole_run(generate, rate):
    """Every request is sent by exactly one process."""
    settings = {"requests": 301, "in_flight": 12, "rate_per_second": rate}
    parts = [generate(constant(0.001), share=Share(process, 3), **settings) for process in range(3)]

    numbers = np.concatenate([part.numbers for part in parts])
    assert sorted(numbers) == list(range(301))
    assert min(part.finished for part in parts) > 50


def test_warm_up_requests_are_counted_and_not_recorded(generate):
    """Seven warm-up requests are counted, but only the ten timed ones are recorded."""
    recording = generate(constant(0.001), warmup_requests=7, requests=10)

    assert (recording.warmup_sent, recording.warmup_failed) == (7, 0)
    assert recording.finished == 10


def test_every_run_warms_up_at_least_once(generate):
    """The request that opens a connection is untimed, even with 0 warm-up requests."""
    assert generate(constant(0.001), warmup_requests=0, requests=1).warmup_sent == 1


def test_a_server_that_is_gone_is_given_up(generate):
    """100 failures in a row end the run; the reason quotes the last failure."""

    async def refuse(_body: bytes) -> bytes:
        await asyncio.sleep(0.001)
        msg = "nobody there"
        raise Refused(msg)

    recording = generate(refuse, in_flight=4, duration_seconds=60)

    kind, reason = recording.stop
    assert kind == "aborted"
    assert reason.endswith("UNAVAILABLE: nobody there")
    assert 100 <= recording.finished < 104
    assert recording.errors == (("UNAVAILABLE", "nobody there"),)
    assert set(recording.outcomes) == {-1}


@pytest.mark.parametrize("load", [{"in_flight": 4}, {"rate_per_second": 200.0, "in_flight": 64}])
@pytest.mark.parametrize("most", [0, 7])
def test_the_number_of_errors_that_end_a_run_can_be_set(generate, load, most):
    """A run ends after so many failures in a row; with 0 it goes on until its end."""

    async def refuse(_body: bytes) -> bytes:
        await asyncio.sleep(0.001)
        raise Refused

    recording = generate(
        refuse, **load, duration_seconds=20, timeout_seconds=1, abort_after_errors=most
    )

    if most:
        assert recording.stop[1].startswith("7 requests in a row")
        assert 7 <= recording.finished < 7 + 4
    else:
        assert recording.stop is None
        assert recording.finished > 300
        assert recording.due_ns.max() - recording.due_ns.min() == pytest.approx(20e9, rel=0.05)


def test_a_server_that_hangs_is_not_given_up_if_outages_are_measured(generate):
    """With 0 not even three deadlines without an answer end the run."""

    async def hang(_body: bytes) -> bytes:
        await asyncio.sleep(0.5)
        raise Refused

    recording = generate(hang, duration_seconds=10, timeout_seconds=0.5, abort_after_errors=0)

    assert recording.stop is None
    assert recording.finished == 20


def test_a_server_that_hangs_is_given_up(generate):
    """The run ends after three deadlines without an answer, not after 100 failures."""

    async def hang(_body: bytes) -> bytes:
        await asyncio.sleep(0.5)
        msg = "deadline"
        raise Refused(msg)

    recording = generate(hang, duration_seconds=600, timeout_seconds=0.5)

    kind, reason = recording.stop
    assert (kind, reason) == ("aborted", "no answer for 2 seconds")
    assert recording.finished < 6


def test_long_gaps_between_requests_are_no_silence(generate):
    """A run of one request a minute to a server that answers at once is not ended as hanging."""
    recording = generate(constant(0.001), rate_per_second=1 / 60, requests=5, timeout_seconds=1)

    assert recording.stop is None
    assert recording.finished == 5


@pytest.mark.parametrize("rate", [None, 100.0])
def test_a_stopped_run_waits_for_what_is_under_way(generate, rate):
    """After a stop no request is sent, and every sent request has an answer or an error."""

    async def stop(generator: Generator) -> None:
        await asyncio.sleep(1)
        generator.stop("interrupted", "first")
        generator.stop("aborted", "second")

    recording = generate(
        constant(0.2), rate_per_second=rate, duration_seconds=60, in_flight=50, meddle=stop
    )

    assert recording.stop == ("interrupted", "first")
    assert recording.finished == recording.sent
    assert recording.sent < 400


def test_an_abandoned_run_does_not_wait(generate):
    """Requests cancelled by `abandon` are counted as unfinished."""

    async def stop_twice(generator: Generator) -> None:
        await asyncio.sleep(1)
        generator.stop("interrupted", "by hand")
        generator.abandon()

    recording = generate(
        constant(5), rate_per_second=10, duration_seconds=60, in_flight=50, meddle=stop_twice
    )

    assert recording.finished == 0
    assert recording.sent == pytest.approx(10, abs=8)
    assert recording.unfinished_numbers.tolist() == list(range(recording.sent))
    assert (recording.unfinished_sent_ns >= recording.unfinished_due_ns).all()


def test_a_request_that_outlives_its_deadline_is_given_up(generate):
    """A request that hangs longer than the deadline allows is unfinished, and the run ends."""

    async def hang(body: bytes) -> bytes:
        if started:
            await asyncio.sleep(3600)
        return body

    started: list[bool] = []

    async def start(_generator: Generator) -> None:
        started.append(True)

    recording = generate(
        hang, requests=1, rate_per_second=1.0, timeout_seconds=2, abort_after_errors=0, meddle=start
    )

    assert (recording.sent, recording.finished) == (1, 0)
    assert recording.unfinished_numbers.tolist() == [0]


def test_a_bug_of_the_load_generator_is_not_blamed_on_the_server(generate):
    """An unexpected exception ends the run with a reason that names the load generator."""
    calls: list[bytes] = []

    async def broken(body: bytes) -> bytes:
        await asyncio.sleep(0.001)
        calls.append(body)
        if len(calls) == 1:
            return b"warm"
        msg = "a bug"
        raise ZeroDivisionError(msg)

    recording = generate(broken, duration_seconds=60)

    assert recording.stop == (
        "aborted",
        "the load generator failed: ZeroDivisionError('a bug')",
    )
    assert recording.finished == 0
    assert recording.unfinished_numbers.tolist() == [0]


def test_what_the_server_says_about_its_time_is_kept_beside_each_answer(generate):
    """Timing texts belong to their requests, also after failures."""
    answers = iter(["queue;dur=1", None, "queue;dur=3"])

    async def answer(body: bytes) -> TimedResponse:
        await asyncio.sleep(0.001)
        text = next(answers, "")
        if text is None:
            msg = "no"
            raise Refused(msg)
        return TimedResponse(body, text)

    async def skip_warm_up(body: bytes) -> TimedResponse:
        return await answer(body) if started else TimedResponse(body, "warm")

    started: list[bool] = []

    async def start(_generator: Generator) -> None:
        started.append(True)

    recording = generate(skip_warm_up, requests=3, meddle=start)

    assert recording.timings == ("queue;dur=1", "", "queue;dur=3")


def test_progress_counts_what_is_over_the_bound(generate):
    """Late answers and missed requests count once, however often progress is read."""
    seen = []

    async def look(generator: Generator) -> None:
        for _ in range(4):
            await asyncio.sleep(0.5)
            seen.append(generator.progress())

    recording = generate(
        constant(0.02),
        rate_per_second=100,
        duration_seconds=1.9,
        in_flight=1,
        slo_ms=15,
        meddle=look,
    )

    last = seen[-1]
    assert last.finished == recording.finished > 0
    assert last.missed == len(recording.missed_due_ns) > 0
    assert last.over == last.finished + last.missed
