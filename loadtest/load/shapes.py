"""The shapes of an open loop: arrivals whose rate changes over the run.

The arrivals are an inhomogeneous Poisson process. They are the arrival times of a process with one
request a second on average, put through the inverse of the cumulative rate: the inversion method of
Çinlar, *Introduction to Stochastic Processes* (1975). It is exact, and needs no request that is
drawn and thrown away. Every shape is made of pieces with a linear rate, whose cumulative rate is
quadratic, so that the inverse is a formula.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from loadtest.load.arrivals import Arrivals
from loadtest.settings.shape_text import ShapeKind, ShapeSettings

Seconds = npt.NDArray[np.float64]
Span = tuple[float, float]

_NS_PER_SECOND = 1_000_000_000
# A ramp is reported in this many parts of equal time.
_RAMP_PARTS = 10
# A day has a piece for each quarter of an hour, and is reported in parts of three hours.
_DAY_PIECES = 96
_DAY_PARTS = 8
_DAY_HOURS = 24


@dataclass(frozen=True)
class Piece:
    """A time in which the rate is linear; times in seconds, rates in requests a second."""

    start: float
    end: float
    rate_from: float
    rate_to: float

    @property
    def expected(self) -> float:
        """Mean number of requests."""
        return (self.end - self.start) * (self.rate_from + self.rate_to) / 2


@dataclass(frozen=True)
class Stretch:
    """A part of a shape that the report has figures of: a step, or all bursts together.

    Attributes:
        name: What it is, in words.
        spans: Its times in seconds from the start, ascending.
        expected: Mean number of requests.
    """

    name: str
    spans: tuple[Span, ...]
    expected: float

    @property
    def seconds(self) -> float:
        """Length of its times together."""
        return sum(end - start for start, end in self.spans)


@dataclass(frozen=True)
class Alike:
    """Times with the same rates, whose latencies should therefore be the same.

    Attributes:
        name: What they are, in words.
        parts: The times of each part: spans in seconds from the start.
    """

    name: str
    parts: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The rate of a run as a function of its time.

    Attributes:
        words: The shape with its rates, in words.
        pieces: The rate, from 0 seconds to the end, without gaps.
        stretches: The parts that the report has figures of; together they are all of the time.
        alike: Which times can be compared with each other.
    """

    words: str
    pieces: tuple[Piece, ...]
    stretches: tuple[Stretch, ...]
    alike: tuple[Alike, ...]

    @property
    def seconds(self) -> float:
        """Length of the shape."""
        return self.pieces[-1].end

    @property
    def expected(self) -> float:
        """Mean number of requests."""
        return sum(piece.expected for piece in self.pieces)

    @property
    def mean_rate(self) -> float:
        """Mean rate over the whole time, in requests a second."""
        return self.expected / self.seconds

    @property
    def peak_rate(self) -> float:
        """Highest rate."""
        return max(rate for piece in self.pieces for rate in (piece.rate_from, piece.rate_to))

    def arrivals(self, seed: int) -> Arrivals:
        """Return the arrivals; the same seed gives the same ones.

        Args:
            seed: Seed of the underlying process with one request a second.
        """
        expected = self.expected
        # Ten standard deviations above the mean: in practice always enough to fill the shape.
        count = int(expected + 10 * expected**0.5 + 10)
        unit = np.cumsum(np.random.default_rng(seed).exponential(1.0, count))
        due_ns = (self.times(unit[unit < expected]) * _NS_PER_SECOND).astype(np.int64)
        return Arrivals(np.arange(len(due_ns), dtype=np.int64), due_ns)

    def times(self, cumulative: Seconds) -> Seconds:
        """Return the inverse of the cumulative rate.

        Args:
            cumulative: float64, shape (n,): mean numbers of requests, from 0 to below `expected`.

        Returns:
            float64, shape (n,): the seconds from the start by which they are due on average.
        """
        ends = np.cumsum([piece.expected for piece in self.pieces])
        # The sum of rounded areas may end a little below `expected`.
        index = np.minimum(np.searchsorted(ends, cumulative, side="right"), len(ends) - 1)
        table = np.array([(p.start, p.end, p.rate_from, p.rate_to) for p in self.pieces])
        start, end, rate_from, rate_to = table[index].T
        left = cumulative - np.concatenate([[0.0], ends])[index]
        slope = (rate_to - rate_from) / (end - start)
        # rate_from * t + slope * t**2 / 2 = left, solved without a difference of similar numbers.
        root = np.sqrt(np.maximum(rate_from**2 + 2 * slope * left, 0.0))
        within = np.divide(
            2 * left, rate_from + root, out=np.zeros_like(left), where=rate_from + root > 0
        )
        times: Seconds = np.minimum(start + within, end)
        return times

    def stretch_of(self, seconds: Seconds) -> npt.NDArray[np.int64]:
        """Return the index of the stretch of each time: int64, shape (n,)."""
        starts, owners = self._starts
        return owners[np.maximum(np.searchsorted(starts, seconds, side="right") - 1, 0)]

    @cached_property
    def _starts(self) -> tuple[Seconds, npt.NDArray[np.int64]]:
        found = sorted(
            (start, number)
            for number, stretch in enumerate(self.stretches)
            for start, _ in stretch.spans
        )
        starts, owners = zip(*found, strict=True)
        return np.array(starts), np.array(owners, np.int64)


def build(settings: ShapeSettings, seconds: float) -> Shape:
    """Return a shape, stretched over a duration.

    Args:
        settings: The shape; not "constant".
        seconds: The duration, above 0.

    Raises:
        ValueError: The duration is too short for one burst.
    """
    return _BUILDERS[settings.kind](settings.numbers, seconds)


def inside(seconds: Seconds, spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Return whether each time is in one of the spans: bool, shape (n,)."""
    found = np.zeros(len(seconds), np.bool_)
    for start, end in spans:
        found |= (seconds >= start) & (seconds < end)
    return found


def _ramp(rates: Sequence[float], seconds: float) -> Shape:
    first, last = rates
    whole = Piece(0.0, seconds, first, last)

    def at(part: int) -> float:
        return first + (last - first) * part / _RAMP_PARTS

    def when(part: int) -> float:
        return seconds * part / _RAMP_PARTS

    parts = [
        Piece(when(part), when(part + 1), at(part), at(part + 1)) for part in range(_RAMP_PARTS)
    ]
    return Shape(
        words=f"ramp from {first:g} to {last:g} requests/s in {seconds:g} s",
        pieces=(whole,),
        stretches=tuple(
            Stretch(f"{p.rate_from:g} to {p.rate_to:g}/s", ((p.start, p.end),), p.expected)
            for p in parts
        ),
        alike=(),
    )


def _steps(rates: Sequence[float], seconds: float) -> Shape:
    edges = np.linspace(0.0, seconds, len(rates) + 1).tolist()
    pieces = tuple(
        Piece(start, end, rate, rate)
        for start, end, rate in zip(edges, edges[1:], rates, strict=False)
    )
    stretches = tuple(
        Stretch(f"step {number}, {p.rate_from:g}/s", ((p.start, p.end),), p.expected)
        for number, p in enumerate(pieces, 1)
    )
    shown = ", ".join(f"{rate:g}" for rate in rates)
    return Shape(
        words=f"steps of {shown} requests/s, {seconds / len(rates):g} s each",
        pieces=pieces,
        stretches=stretches,
        alike=tuple(
            Alike(f"the halves of {stretch.name}", _cut(stretch.spans, piece.start, piece.end, 2))
            for stretch, piece in zip(stretches, pieces, strict=True)
        ),
    )


def _bursts(numbers: Sequence[float], seconds: float) -> Shape:
    base, burst, length, interval = numbers
    # Base load before the first burst and after the last one, to see how the server recovers.
    first = (interval - length) / 2
    count = math.floor((seconds - first - length) / interval) + 1
    if count < 1:
        msg = (
            f"a duration of {seconds:g} s has no room for a burst, which begins after {first:g} s "
            f"and takes {length:g} s; expected at least {first + length:g} s"
        )
        raise ValueError(msg)
    starts = [first + interval * number for number in range(count)]
    bursts = tuple((start, start + length) for start in starts)
    edges = [0.0, *(edge for span in bursts for edge in span), seconds]
    calm = tuple((start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))
    calm = tuple(span for span in calm if span[0] < span[1])
    pieces = [
        *(Piece(start, end, base, base) for start, end in calm),
        *(Piece(start, end, burst, burst) for start, end in bursts),
    ]
    stretches = tuple(
        Stretch(f"{name}, {rate:g}/s", spans, rate * sum(end - start for start, end in spans))
        for name, rate, spans in (("base", base, calm), ("burst", burst, bursts))
    )
    return Shape(
        words=(
            f"bursts of {burst:g} requests/s for {length:g} s every {interval:g} s, "
            f"{base:g} requests/s between them, in {seconds:g} s"
        ),
        pieces=tuple(sorted(pieces, key=lambda piece: piece.start)),
        stretches=stretches,
        alike=tuple(
            Alike(f"{stretch.name} in the thirds of the run", _cut(stretch.spans, 0.0, seconds, 3))
            for stretch in stretches
        ),
    )


def _day(rates: Sequence[float], seconds: float) -> Shape:
    """Return a sinusoid from trough to peak and back.

    It is the form in which queueing theory treats the time of day: Eick, Massey and Whitt, Mt/G/∞
    queues with sinusoidal arrival rates, Management Science 39(2), 1993.
    """
    trough, peak = rates

    def at(part: int) -> float:
        turn = math.cos(2 * math.pi * part / _DAY_PIECES)
        return (trough + peak) / 2 - (peak - trough) / 2 * turn

    pieces = tuple(
        Piece(
            seconds * part / _DAY_PIECES,
            seconds * (part + 1) / _DAY_PIECES,
            at(part),
            at(part + 1),
        )
        for part in range(_DAY_PIECES)
    )
    each = _DAY_PIECES // _DAY_PARTS
    hours = _DAY_HOURS // _DAY_PARTS
    stretches = []
    for part in range(_DAY_PARTS):
        own = pieces[part * each : (part + 1) * each]
        name = f"{part * hours:02d} to {(part + 1) * hours:02d} h"
        expected = sum(piece.expected for piece in own)
        stretches.append(Stretch(name, ((own[0].start, own[-1].end),), expected))
    return Shape(
        words=f"a day from {trough:g} to {peak:g} requests/s and back in {seconds:g} s",
        pieces=pieces,
        stretches=tuple(stretches),
        alike=tuple(
            Alike(f"{rising.name} and {falling.name}", (rising.spans, falling.spans))
            for rising, falling in zip(
                stretches[: _DAY_PARTS // 2], reversed(stretches[_DAY_PARTS // 2 :]), strict=True
            )
        ),
    )


def _cut(
    spans: Sequence[Span], start: float, end: float, count: int
) -> tuple[tuple[Span, ...], ...]:
    """Return the spans within each of `count` equal parts of the time from start to end."""
    edges = np.linspace(start, end, count + 1).tolist()
    return tuple(
        tuple(
            (max(low, left), min(high, right))
            for low, high in spans
            if max(low, left) < min(high, right)
        )
        for left, right in itertools.pairwise(edges)
    )


_BUILDERS: dict[ShapeKind, Callable[[Sequence[float], float], Shape]] = {
    "ramp": _ramp,
    "steps": _steps,
    "bursts": _bursts,
    "day": _day,
}
