"""The time of a search: what is used, and what the final training needs of the rest."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from training.search.plan import SearchPlan
from training.settings.recipes import ConfigError

# The final training may be slower than the trials were.
_MARGIN = 1.1


@dataclass(frozen=True)
class Pace:
    """How fast a trial was.

    Attributes:
        start_seconds: Time before its first epoch, with the compilation of the step.
        epoch_seconds: Time of an epoch, with its validation and checkpoint.
    """

    start_seconds: float
    epoch_seconds: float

    @classmethod
    def read(cls, file: Path, *, least_epochs: int = 1) -> Self | None:
        """Return the pace that training.run.epoch_speed.SpeedRecord wrote.

        Args:
            file: The file of a trial.
            least_epochs: Number of epochs that the pace has to come from.

        Returns:
            The pace; None if there is no file, or its pace comes from fewer epochs.
        """
        try:
            speed = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if speed["epochs"] < least_epochs:
            return None
        return cls(start_seconds=speed["start_seconds"], epoch_seconds=speed["epoch_seconds"])

    def seconds(self, epochs: int) -> float:
        """Return the time of a training of some epochs."""
        return self.start_seconds + epochs * self.epoch_seconds


class SearchBudget:
    """The minutes of a search, over all calls together."""

    def __init__(self, plan: SearchPlan, *, used_seconds: float) -> None:
        """Start the clock.

        Args:
            plan: The search.
            used_seconds: Time that earlier calls used.
        """
        self._plan = plan
        self._earlier = used_seconds
        self._began = time.monotonic()

    @property
    def used_seconds(self) -> float:
        """Time of this call and the earlier ones."""
        return self._earlier + time.monotonic() - self._began

    @property
    def total_seconds(self) -> float:
        """Time that the search may take with the final training."""
        return 60 * self._plan.minutes

    def final_seconds(self, paces: Iterable[Pace]) -> float:
        """Return the time to keep for the final training: at the slowest of some paces."""
        if not self._plan.refit:
            return 0.0
        base = self._plan.base
        # It starts once more for the evaluation: the model is built and compiled again.
        needed = max(
            (_MARGIN * (pace.seconds(base.epochs) + pace.start_seconds) for pace in paces),
            default=0.0,
        )
        return min(needed, base.time_budget) if base.time_budget else needed

    def has_room(self, pace: Pace) -> bool:
        """Return whether another trial and the final training fit at a pace."""
        needed = pace.seconds(self._plan.trial_epochs) + self.final_seconds([pace])
        return self.used_seconds + needed <= self.total_seconds

    def is_over(self, paces: Iterable[Pace]) -> bool:
        """Return whether only the time of the final training is left."""
        return self.used_seconds + self.final_seconds(paces) >= self.total_seconds

    def check_first(self, pace: Pace | None, done: int) -> None:
        """Check early that the first complete trial and the final training fit.

        Args:
            pace: The pace of the trial that runs; None if it is not known yet.
            done: Number of its epochs so far.

        Raises:
            ConfigError: The minutes are not enough; the message says how many are.
        """
        if pace is None:
            if self.is_over([]):
                msg = (
                    f"{self._plan.minutes:g} minutes are used, and no trial is complete; pass more "
                    "--minutes to go on"
                )
                raise ConfigError(msg)
            return
        final = self.final_seconds([pace])
        left = (self._plan.trial_epochs - done) * pace.epoch_seconds
        needed = self.used_seconds + left + final
        if needed <= self.total_seconds:
            return
        trial = pace.seconds(self._plan.trial_epochs) / 60
        training = f" and the final training about {final / 60:.1f}" if final else ""
        msg = (
            f"{self._plan.minutes:g} minutes are not enough for one trial: a trial takes about "
            f"{trial:.1f}{training}; pass --minutes {_rounded_up(needed / 60)} or more, fewer "
            "--trial-epochs or --epochs, or --no-refit"
        )
        raise ConfigError(msg)


def _rounded_up(minutes: float) -> str:
    return f"{minutes + 0.1:.1f}" if minutes < 10 else f"{minutes + 1:.0f}"
