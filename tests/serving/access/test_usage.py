import pytest

from serving.access.usage import RateLimits, Usage
from serving.errors import RateLimited


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Return the time."""
        return self.now


@pytest.fixture
def clock():
    return Clock()


def usage(clock, **limits):
    return Usage("a", RateLimits(**limits).share(1), clock)


def entered(used, count):
    """Enter several times; return how often it was granted."""
    granted = 0
    for _ in range(count):
        try:
            used.enter()
        except RateLimited:
            continue
        granted += 1
    return granted


def test_a_rate_is_that_of_a_token_bucket(clock):
    """After a burst, calls are granted at the rate; a pause fills the bucket up to the burst."""
    used = usage(clock, requests_per_second=4, burst=6)
    granted = [entered(used, 10)]
    for pause in (0.25, 0.5, 100):
        clock.now += pause
        granted.append(entered(used, 10))

    assert granted == [6, 1, 2, 6]


def test_the_burst_is_by_default_that_of_one_second(clock):
    """Without a burst, the calls of one second may come at once, and always one call."""
    assert entered(usage(clock, requests_per_second=4), 10) == 4
    assert entered(usage(clock, requests_per_second=0.5), 10) == 1


def test_a_refused_caller_learns_when_to_retry(clock):
    """The refusal says after how many seconds there is a token, and that time is enough."""
    used = usage(clock, requests_per_second=0.1)
    used.enter()
    clock.now += 4
    with pytest.raises(RateLimited, match=r"a sends more than 0\.1 requests a second") as refused:
        used.enter()
    clock.now += refused.value.retry_after_seconds

    assert refused.value.headers == ((b"retry-after", b"6"),)
    assert entered(used, 1) == 1


def test_calls_in_flight_are_counted_until_they_end(clock):
    """As many calls as the limit may be in flight; a refused call is not counted."""
    used = usage(clock, in_flight=2)
    granted = entered(used, 5)
    used.leave()
    again = entered(used, 5)
    with pytest.raises(RateLimited, match="a has 2 calls in flight") as refused:
        used.enter()

    assert (granted, again) == (2, 1)
    assert refused.value.headers == ((b"retry-after", b"1"),)


def test_a_call_refused_for_being_in_flight_takes_no_token(clock):
    """A call that the limit on calls in flight refuses does not count towards the rate."""
    used = usage(clock, requests_per_second=1, burst=2, in_flight=1)
    entered(used, 5)
    used.leave()

    assert entered(used, 1) == 1


@pytest.mark.parametrize(
    ("limits", "share"),
    [
        (
            RateLimits(requests_per_second=10, burst=8, in_flight=9),
            RateLimits(requests_per_second=2.5, burst=2, in_flight=2),
        ),
        (
            RateLimits(requests_per_second=1, in_flight=2),
            RateLimits(requests_per_second=0.25, burst=1, in_flight=1),
        ),
        (RateLimits(), RateLimits()),
    ],
)
def test_workers_share_the_limits(limits, share):
    """Each of four workers has a quarter of the limits, and lets at least one call in."""
    assert limits.share(4) == share
