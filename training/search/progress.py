"""Shows a search while it runs: the trial under way, and a line for each trial that has ended."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from training.live_line import LiveLine
from training.search.plan import SearchPlan
from training.settings.search_record import shown

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_LOG_SECONDS = 60.0
_TERMINAL_SECONDS = 0.5


class SearchProgress:
    """Writes to a terminal or a log."""

    def __init__(self, plan: SearchPlan, stream: TextIO | None = None) -> None:
        """Begin.

        Args:
            plan: The search.
            stream: Stream to write to; by default stdout.
        """
        self._plan = plan
        self._stream = stream or sys.stdout
        self._line = LiveLine(
            self._stream,
            first_seconds=_LOG_SECONDS,
            log_seconds=_LOG_SECONDS,
            terminal_seconds=_TERMINAL_SECONDS,
        )

    def show(self, trial: "optuna.Trial", values: Sequence[float], used_seconds: float) -> None:
        """Show the trial under way.

        Args:
            trial: The trial.
            values: Validation accuracy of each of its epochs so far.
            used_seconds: Time that the search has used.
        """
        if not self._line.is_due():
            return
        accuracy = f", validation accuracy {values[-1]:.2%}" if values else ""
        self._line.show(
            f"trial {trial.number}: {len(values)} of {self._plan.trial_epochs} epochs{accuracy}, "
            f"{used_seconds / 60:.1f} of {self._plan.minutes:g} min"
        )

    def end(self, trial: "FrozenTrial") -> None:
        """Write the line of a trial that has ended."""
        epochs = trial.intermediate_values
        count = "1 epoch" if len(epochs) == 1 else f"{len(epochs)} epochs"
        parts = [f"{trial.user_attrs['outcome']} after {count}"]
        if epochs:
            parts.append(f"validation accuracy {epochs[max(epochs)]:.2%}")
        parts += [f"{name} {shown(value)}" for name, value in trial.params.items()]
        reason = trial.user_attrs.get("reason")
        self.say(f"trial {trial.number}: {', '.join(parts)}{f' ({reason})' if reason else ''}")

    def say(self, text: str) -> None:
        """Write a line."""
        self._line.clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._line.restart()

    def close(self) -> None:
        """Remove the line on a terminal; call this also if the search ends with an error."""
        self._line.clear()
