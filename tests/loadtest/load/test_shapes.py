"""Shapes: the drawn arrivals have the planned rate at every time, and the parts are exact."""

import numpy as np
import pytest

from loadtest.load import shapes
from loadtest.load.arrivals import Arrivals, poisson
from loadtest.settings.shape_text import parse

SECONDS = 40.0
# The Kolmogorov-Smirnov statistic, times the root of n, is above this with probability 0.0006.
KS_LIMIT = 2.0


def ramp(t):
    return 20 + 280 * t / SECONDS


def steps(t):
    return np.select([t < 10, t < 20, t < 30], [50, 300, 100], 200)


def bursts(t):
    # The first burst begins after (10 - 2) / 2 s, the next ones every 10 s.
    return np.where((t % 10 >= 4) & (t % 10 < 6), 500, 60)


def day(t):
    return 130 - 110 * np.cos(2 * np.pi * t / SECONDS)


# The texts of shapes, with their rates written down again.
SHAPES = {
    "ramp:20..300": ramp,
    "steps:50,300,100,200": steps,
    "bursts:60,500,2,10": bursts,
    "day:20..240": day,
}


def build(text: str) -> shapes.Shape:
    return shapes.build(parse(text), SECONDS)


def cumulative(rate, seconds: np.ndarray) -> np.ndarray:
    """The integral of a rate up to each time, by sums over steps of 0.1 ms."""
    edges = np.linspace(0, SECONDS, 400_001)
    middles = (edges[1:] + edges[:-1]) / 2
    sums = np.concatenate([[0], np.cumsum(rate(middles) * np.diff(edges))])
    return np.interp(seconds, edges, sums)


def distances(arrivals: Arrivals, rate) -> tuple[float, float]:
    """How far arrivals are from a Poisson process of a rate: two Kolmogorov-Smirnov statistics.

    By time rescaling, the cumulative rates at the arrivals are those of a process with one request
    a second: their values are uniform, and their gaps are exponential.
    """
    rescaled = cumulative(rate, arrivals.due_ns / 1e9)
    total = cumulative(rate, np.array([SECONDS]))
    uniform = np.sort(rescaled / total)
    exponential = np.sort(1 - np.exp(-np.diff(rescaled)))
    return tuple(
        float(np.sqrt(len(values)) * np.abs(values - np.arange(len(values)) / len(values)).max())
        for values in (uniform, exponential)
    )


@pytest.mark.parametrize("text", SHAPES)
def test_the_arrivals_are_a_poisson_process_of_the_shape(text):
    """Rescaled arrivals are uniform with exponential gaps; those of another rate are not."""
    shape, rate = build(text), SHAPES[text]
    found = distances(shape.arrivals(seed=0), rate)
    constant = poisson(shape.mean_rate, requests=None, duration_seconds=SECONDS, seed=0)

    assert max(found) < KS_LIMIT
    assert max(distances(constant, rate)) > 2 * KS_LIMIT


@pytest.mark.parametrize("text", SHAPES)
def test_the_number_of_arrivals_is_that_of_the_plan(text):
    """Over 200 seeds the numbers have the mean and the variance of a Poisson distribution."""
    shape = build(text)
    counts = np.array([len(shape.arrivals(seed)) for seed in range(200)])

    assert counts.mean() == pytest.approx(shape.expected, abs=4 * np.sqrt(shape.expected / 200))
    assert counts.var() == pytest.approx(shape.expected, rel=0.5)


@pytest.mark.parametrize("text", SHAPES)
def test_times_are_the_inverse_of_the_cumulative_rate(text):
    """The cumulative rate at the time of any number of requests is that number."""
    shape, rate = build(text), SHAPES[text]
    numbers = np.linspace(0, shape.expected, 1000, endpoint=False)

    assert cumulative(rate, shape.times(numbers)) == pytest.approx(
        numbers, abs=shape.expected / 2e3
    )


@pytest.mark.parametrize("text", SHAPES)
def test_the_parts_are_all_of_the_time(text):
    """Every arrival is in the part whose spans contain it, and the parts add up to the plan."""
    shape = build(text)
    seconds = shape.arrivals(seed=1).due_ns / 1e9
    parts = shape.stretch_of(seconds)

    for number, stretch in enumerate(shape.stretches):
        assert (shapes.inside(seconds, stretch.spans) == (parts == number)).all()
    assert sum(stretch.seconds for stretch in shape.stretches) == pytest.approx(SECONDS)
    assert sum(stretch.expected for stretch in shape.stretches) == pytest.approx(shape.expected)


def test_the_seed_decides_the_arrivals():
    """Equal seeds give equal arrivals, different seeds different ones."""
    due = [build("ramp:20..300").arrivals(seed).due_ns.tolist() for seed in (1, 1, 2)]

    assert due[0] == due[1] != due[2]


@pytest.mark.parametrize("text", ["ramp:0..100", "ramp:100..0", "steps:0,100", "bursts:0,50,1,10"])
def test_a_rate_of_zero_has_no_arrivals_in_its_time(text):
    """No request is due while the rate is 0, and all are within the duration."""
    shape = build(text)
    seconds = shape.arrivals(seed=0).due_ns / 1e9

    assert seconds.min() >= 0
    assert seconds.max() < SECONDS
    for piece in shape.pieces:
        if piece.expected == 0:
            assert not ((seconds > piece.start) & (seconds < piece.end)).any()


def test_shares_of_a_shape_are_the_whole():
    """Each arrival belongs to exactly one of three processes, whose parts have the same shape."""
    whole = build("day:20..240").arrivals(seed=0)
    shares = [whole.share(process, 3, seed=5) for process in range(3)]

    assert sorted(np.concatenate([share.numbers for share in shares])) == list(range(len(whole)))
    for share in shares:
        assert max(distances(share, lambda t: day(t) / 3)) < KS_LIMIT


def test_only_times_of_the_same_rates_are_alike():
    """The mean planned rates of the parts of each group are equal; a ramp has no group."""
    assert build("ramp:20..300").alike == ()
    for text in ("steps:50,300,100,200", "bursts:60,500,2,10", "day:20..240"):
        rate = SHAPES[text]
        for group in build(text).alike:
            edges = np.linspace(0, SECONDS, 400_001)
            means = [rate(edges[shapes.inside(edges, part)]).mean() for part in group.parts]
            assert len(means) > 1
            assert means == pytest.approx([means[0]] * len(means), rel=1e-2)


def test_a_duration_without_room_for_a_burst_is_refused():
    """The first burst of 2 s every 10 s ends after 6 s; 5 s are too short."""
    with pytest.raises(ValueError, match="expected at least 6 s"):
        shapes.build(parse("bursts:1,9,2,10"), 5)

    assert len(shapes.build(parse("bursts:1,9,2,10"), 6).stretches[1].spans) == 1


def test_a_shape_says_its_rates():
    """The words of every shape have its rates and its duration."""
    assert build("ramp:20..300").words == "ramp from 20 to 300 requests/s in 40 s"
    assert build("steps:50,300").words == "steps of 50, 300 requests/s, 20 s each"
    assert build("day:20..240").words == "a day from 20 to 240 requests/s and back in 40 s"
    assert build("bursts:60,500,2,10").words == (
        "bursts of 500 requests/s for 2 s every 10 s, 60 requests/s between them, in 40 s"
    )
    assert build("day:20..240").peak_rate == pytest.approx(240)
