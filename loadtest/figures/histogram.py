"""Latencies as an HdrHistogram: small, mergeable, and readable by other tools."""

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

_LOWEST_US = 1
_HIGHEST_US = 3_600_000_000
_DIGITS = 3
_NS_PER_US = 1_000


def encode(latency_ns: npt.NDArray[np.int64]) -> str:
    """Latencies in microseconds, rounded to nearest, as V2 compressed base64.

    Args:
        latency_ns: int64, shape (n,); what is under 1 us counts as 1, over 1 hour as 1 hour.
    """
    histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
    microseconds = np.clip(np.rint(latency_ns / _NS_PER_US), _LOWEST_US, _HIGHEST_US)
    values, counts = np.unique(microseconds.astype(np.int64), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    return str(histogram.encode().decode())
