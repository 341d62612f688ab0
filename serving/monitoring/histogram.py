"""A histogram that costs well under a microsecond to observe into.

Prometheus' own Python histogram walks its buckets in Python and takes a lock; with the 33 buckets
that dashboards for TensorFlow Serving expect, that is several microseconds a request. This one
bisects and takes no lock: it belongs to one thread, the event loop's.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate


def exponential_limits(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Bucket limits `scale`, `scale * growth`, ...; `count` of them.

    As TensorFlow's `Buckets::Exponential` (core/lib/monitoring/sampler.h), which like Prometheus
    adds one bucket for all that is larger.
    """
    return tuple(scale * growth**power for power in range(count))


class Histogram:
    """Counts of observed values by size.

    Attributes:
        limits: Upper limit of each bucket, itself included, ascending; one more has no limit.
        total: Sum of all values.
    """

    __slots__ = ("_counts", "limits", "total")

    def __init__(self, limits: Sequence[float]) -> None:
        self.limits = limits
        self._counts = [0] * (len(limits) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.limits, value)] += 1
        self.total += value

    def observe_all(self, values: Iterable[float], scale: float = 1.0) -> None:
        """Count many values, quicker than one by one.

        Args:
            values: Each times `scale` is counted.
            scale: Of the histogram's unit, how many make one of the values'.
        """
        limits, counts = self.limits, self._counts
        for value in values:
            scaled = scale * value
            counts[bisect_left(limits, scaled)] += 1
            self.total += scaled

    @property
    def count(self) -> int:
        """Values observed."""
        return sum(self._counts)

    def cumulative(self) -> list[int]:
        """Values up to each limit, and all of them at the end."""
        return list(accumulate(self._counts))
