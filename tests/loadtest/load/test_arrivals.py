import numpy as np
import pytest

from loadtest.load.arrivals import poisson

SECOND = 1_000_000_000


def test_arrivals_are_poisson():
    """Gaps have the mean and spread of an exponential distribution: 10 ms each at 100/s."""
    arrivals = poisson(100, requests=20_000, duration_seconds=None, seed=0)

    gaps_ms = np.diff(arrivals.due_ns) / 1e6
    assert gaps_ms.mean() == pytest.approx(10, rel=0.03)
    assert gaps_ms.std() == pytest.approx(10, rel=0.05)
    # An exponential gap is longer than its mean with probability 1/e.
    assert (gaps_ms > 10).mean() == pytest.approx(np.exp(-1), abs=0.015)


def test_the_seed_decides_the_schedule():
    """Equal seeds give equal arrivals, different seeds different ones."""
    schedules = [poisson(50, requests=100, duration_seconds=None, seed=seed) for seed in (1, 1, 2)]

    assert schedules[0].due_ns.tolist() == schedules[1].due_ns.tolist()
    assert schedules[0].due_ns.tolist() != schedules[2].due_ns.tolist()


def test_a_duration_ends_the_schedule():
    """200 a second for 10 seconds give about 2,000 arrivals, all within the duration."""
    arrivals = poisson(200, requests=None, duration_seconds=10, seed=0)

    assert len(arrivals) == pytest.approx(2_000, abs=4 * np.sqrt(2_000))
    assert arrivals.due_ns.max() < 10 * SECOND
    assert arrivals.due_ns.max() > 9.9 * SECOND


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_the_schedule_and_poisson_themselves(processes):
    """Every arrival belongs to one process, and the gaps of a share are exponential."""
    whole = poisson(100, requests=12_000, duration_seconds=None, seed=0)
    shares = [whole.share(process, processes, seed=5) for process in range(processes)]

    together = np.concatenate([share.numbers for share in shares])
    assert sorted(together) == list(range(12_000))
    for share in shares:
        assert share.due_ns.tolist() == whole.due_ns[share.numbers].tolist()
        gaps_ms = np.diff(share.due_ns) / 1e6
        assert gaps_ms.mean() == pytest.approx(10 * processes, rel=0.06)
        assert gaps_ms.std() == pytest.approx(10 * processes, rel=0.08)


def test_a_schedule_without_an_end_is_refused():
    """Without requests and duration ValueError is raised; the message names both."""
    with pytest.raises(ValueError, match="expected one of them"):
        poisson(1, requests=None, duration_seconds=None, seed=0)
