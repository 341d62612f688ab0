"""When requests are due in an open loop: Poisson arrivals, made before the run from a seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Arrivals:
    """Requests of one run, or one process' share of them.

    Attributes:
        numbers: int64, shape (n,), rising: number of the request in the whole run, from 0.
        due_ns: int64, shape (n,), rising: when it is due, from the beginning of the run.
    """

    numbers: npt.NDArray[np.int64]
    due_ns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def share(self, process: int, processes: int, seed: int) -> "Arrivals":
        """What one of several processes sends.

        Each arrival falls to a process by chance, independent of the others, so every share is
        itself a Poisson process, of the rate / processes. Together they are this schedule.

        Args:
            process: Which one, from 0.
            processes: How many there are.
            seed: The same for all of them.
        """
        owners = np.random.default_rng((seed, processes)).integers(processes, size=len(self))
        mine = owners == process
        return Arrivals(self.numbers[mine], self.due_ns[mine])


def poisson(
    rate_per_second: float, *, requests: int | None, duration_seconds: float | None, seed: int
) -> Arrivals:
    """Arrivals whose gaps are independent and exponentially distributed.

    Args:
        rate_per_second: Mean rate, above 0.
        requests: So many; None: as many as fall into the duration.
        duration_seconds: Nothing is due later than this; None: no such limit.
        seed: The same seed gives the same gaps at every rate, but for their length.

    Raises:
        ValueError: Neither limit is given.
    """
    random = np.random.default_rng(seed)
    if requests is None:
        if duration_seconds is None:
            msg = "neither requests nor duration_seconds received, expected one of them"
            raise ValueError(msg)
        mean = rate_per_second * duration_seconds
        # Ten standard deviations over the mean: more is not seen in the age of the universe.
        requests = int(mean + 10 * mean**0.5 + 10)
    gaps = random.exponential(1 / rate_per_second, requests)
    due_ns = (np.cumsum(gaps) * _NS_PER_SECOND).astype(np.int64)
    if duration_seconds is not None:
        due_ns = due_ns[due_ns < duration_seconds * _NS_PER_SECOND]
    return Arrivals(np.arange(len(due_ns), dtype=np.int64), due_ns)
