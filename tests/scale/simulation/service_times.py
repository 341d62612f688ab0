"""How long a run of the model takes, by its number of rows: measured, and drawn in a simulation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ServiceTimes:
    """Durations of runs.

    Attributes:
        seconds: Mean seconds of a run of 1, 2, 3, ... rows, with the server's other work for these
            rows on the same core.
        ratios: Measured durations divided by their means: a run's duration is its mean times one of
            them, drawn at random. (1.0,): all runs of a size take the same time.
    """

    seconds: tuple[float, ...]
    ratios: tuple[float, ...] = (1.0,)

    def draw(self, rows: int, random: Random) -> float:
        """Return the seconds of one run of `rows` rows."""
        return self.seconds[rows - 1] * random.choice(self.ratios)

    def images_per_second(self, *, instances: int = 1) -> float:
        """Return the most rows a second that a replica with this many executors can run."""
        return instances * max(rows / seconds for rows, seconds in enumerate(self.seconds, start=1))

    def slower(self, factor: float, *, seconds_per_row: float = 0.0) -> "ServiceTimes":
        """Return the durations with additional work for each row, and then times a factor."""
        return replace(
            self,
            seconds=tuple(
                factor * (seconds + rows * seconds_per_row)
                for rows, seconds in enumerate(self.seconds, start=1)
            ),
        )

    def line(self) -> tuple[float, float]:
        """Return the seconds of a run and of each of its rows, fitted to all sizes.

        The fit minimises the relative error, because the small sizes are the frequent ones.
        """
        mean = np.array(self.seconds)
        rows = np.arange(1, len(mean) + 1)
        design = np.stack([np.ones(len(mean)), rows], axis=1) / mean[:, None]
        fixed, each = np.linalg.lstsq(design, np.ones(len(mean)), rcond=None)[0]
        return float(fixed), float(each)


def measured(samples: Mapping[int, Sequence[float]]) -> ServiceTimes:
    """Return the service times of measured runs.

    Sizes between two measured ones are interpolated.

    Args:
        samples: Seconds of runs by their number of rows; it must contain 1.

    Raises:
        ValueError: there is no run of one row.
    """
    if not samples.get(1):
        msg = f"runs of {sorted(samples)} rows were measured; a run of 1 row is needed, too"
        raise ValueError(msg)
    sizes = sorted(samples)
    means = {size: float(np.mean(samples[size])) for size in sizes}
    rows = np.arange(1, sizes[-1] + 1)
    seconds = np.interp(rows, sizes, [means[size] for size in sizes])
    ratios = np.concatenate([np.array(samples[size]) / means[size] for size in sizes])
    return ServiceTimes(seconds=tuple(seconds.tolist()), ratios=tuple(ratios.tolist()))
