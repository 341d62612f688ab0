"""The send times of an open loop: Poisson arrivals, drawn from a seed before the run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Arrivals:
    """The scheduled requests of one run, or of one process of it.

    Attributes:
        numbers: int64, shape (n,), ascending: index of each request in the whole run, from 0.
        due_ns: int64, shape (n,), ascending: time at which each request is due, in nanoseconds
            from the start of the run.
    """

    numbers: npt.NDArray[np.int64]
    due_ns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def share(self, process: int, processes: int, seed: int) -> "Arrivals":
        """Return the requests that one of several processes sends.

        Each arrival is assigned to a random process, independently of the others. Every share is
        therefore a Poisson process of rate / processes, and the shares add up to this schedule.

        Args:
            process: Index of the process, from 0.
            processes: Number of processes.
            seed: Seed of the assignment; pass the same value in every process.
        """
        owners = np.random.default_rng((seed, processes)).integers(processes, size=len(self))
        mine = owners == process
        return Arrivals(self.numbers[mine], self.due_ns[mine])


def poisson(
    rate_per_second: float, *, requests: int | None, duration_seconds: float | None, seed: int
) -> Arrivals:
    """Return arrivals whose gaps are independent and exponentially distributed.

    Args:
        rate_per_second: Mean rate, above 0.
        requests: Number of arrivals; None for all that fall into the duration.
        duration_seconds: Time after which no request is due; None for no limit.
        seed: The same seed gives the same gaps at every rate, scaled by 1 / rate.

    Raises:
        ValueError: Neither limit is given.
    """
    random = np.random.default_rng(seed)
    if requests is None:
        if duration_seconds is None:
            msg = "neither requests nor duration_seconds received, expected one of them"
            raise ValueError(msg)
        mean = rate_per_second * duration_seconds
        # Ten standard deviations above the mean: in practice always enough to fill the duration.
        requests = int(mean + 10 * mean**0.5 + 10)
    gaps = random.exponential(1 / rate_per_second, requests)
    due_ns = (np.cumsum(gaps) * _NS_PER_SECOND).astype(np.int64)
    if duration_seconds is not None:
        due_ns = due_ns[due_ns < duration_seconds * _NS_PER_SECOND]
    return Arrivals(np.arange(len(due_ns), dtype=np.int64), due_ns)
