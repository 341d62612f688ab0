"""What a run records of the search that chose its settings, and the sentences about it.

The run folder's config.json and metrics.json have the record as `search`; a published version has
it in section `training` of its metrics.json. The model card and the training report show it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ORDER = ("complete", "pruned", "diverged", "stopped", "failed")
_NAMES = {
    "complete": "complete",
    "pruned": "pruned",
    "diverged": "diverged",
    "stopped": "ended by the time budget",
    "failed": "failed",
}


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search, as a run records it.

    Attributes:
        trials: Number of trials by outcome, with the keys of ORDER.
        trial: Number of the chosen trial, from 0.
        trial_epochs: Epochs of a trial that was not ended early.
        validation_accuracy: Accuracy of the chosen trial on the validation images, 0 to 1.
        parameters: The values that the search chose.
        space: The values that it chose among, as text by name.
        pruner: Rule that ended trials early.
        minutes: Time of the search, without the final training.
        optuna: Version of Optuna.
    """

    trials: dict[str, int]
    trial: int
    trial_epochs: int
    validation_accuracy: float
    parameters: dict[str, Any]
    space: dict[str, str]
    pruner: str
    minutes: float
    optuna: str

    def as_dict(self) -> dict[str, Any]:
        """Return the record as values for JSON."""
        return asdict(self)


def describe(record: Mapping[str, Any]) -> str:
    """Return what a record says, in sentences.

    Args:
        record: What SearchRecord.as_dict returned.
    """
    counts = record["trials"]
    total = sum(counts.values())
    outcomes = ", ".join(f"{counts[name]} {_NAMES[name]}" for name in ORDER if counts.get(name))
    chosen = ", ".join(f"{name} {shown(value)}" for name, value in record["parameters"].items())
    return (
        f"Optuna {record['optuna']} chose {chosen} in {total} "
        f"{'trial' if total == 1 else 'trials'} of at most {record['trial_epochs']} epochs "
        f"({outcomes}), by the accuracy on the validation images: {_percent(record)} in trial "
        f"{record['trial']}. The test images chose nothing."
    )


def shown(value: object) -> str:
    """Return a value for people: floats with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(record: Mapping[str, Any]) -> str:
    return f"{100 * record['validation_accuracy']:.2f} %"
