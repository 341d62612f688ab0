"""Latencies as an HdrHistogram, which is small, can be merged, and is read by other tools."""

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

_LOWEST_US = 1
_HIGHEST_US = 3_600_000_000
_DIGITS = 3
_NS_PER_US = 1_000


class LatencyHistogram:
    """A histogram that grows; latencies are rounded to microseconds."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)

    def add(self, latency_ns: npt.NDArray[np.int64]) -> None:
        """Count latencies.

        Args:
            latency_ns: int64, shape (n,). Values below 1 us count as 1 us, above 1 hour as 1 hour.
        """
        microseconds = np.clip(np.rint(latency_ns / _NS_PER_US), _LOWEST_US, _HIGHEST_US)
        values, counts = np.unique(microseconds.astype(np.int64), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def encode(self) -> str:
        """Return the counts as a V2 compressed base64 histogram."""
        return str(self._histogram.encode().decode())


def encode(latency_ns: npt.NDArray[np.int64]) -> str:
    """Encode latencies; see LatencyHistogram."""
    histogram = LatencyHistogram()
    histogram.add(latency_ns)
    return histogram.encode()
