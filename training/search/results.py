"""What a search has found: the table of trials, its file, and the record of the best trial."""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from training import storage
from training.search import study as studies
from training.search.plan import SearchPlan
from training.settings import command_line
from training.settings.search_record import ORDER, SearchRecord, shown

FILE = "trials.csv"


def record(plan: SearchPlan, study: optuna.Study, best: FrozenTrial) -> SearchRecord:
    """Return what the final training records of the search."""
    outcomes = Counter(trial.user_attrs["outcome"] for trial in studies.counted(study))
    if best.value is None:
        raise AssertionError(best)
    return SearchRecord(
        trials={name: outcomes[name] for name in ORDER},
        trial=best.number,
        trial_epochs=plan.trial_epochs,
        validation_accuracy=best.value,
        parameters=dict(best.params),
        space={name: str(parameter) for name, parameter in plan.space.items()},
        pruner=plan.pruner,
        minutes=round(study.user_attrs.get("used_seconds", 0.0) / 60, 1),
        optuna=optuna.__version__,
    )


def table(plan: SearchPlan, study: optuna.Study) -> str:
    """Return the table of trials, the most accurate first, as text for a terminal."""
    header = ["trial", "outcome", "epochs", "validation", *plan.space]
    rows = [header]
    best = studies.best(study)
    for trial in sorted(studies.counted(study), key=_rank):
        mark = "*" if best is not None and trial.number == best.number else ""
        accuracy = _accuracy(trial)
        rows.append(
            [
                f"{trial.number}{mark}",
                trial.user_attrs["outcome"],
                str(len(trial.intermediate_values)),
                "" if accuracy is None else f"{accuracy:.2%}",
                *(shown(trial.params.get(name, "")) for name in plan.space),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def write(plan: SearchPlan, study: optuna.Study) -> Path:
    """Write trials.csv, with a row for each trial in order, whole values and reasons.

    Raises:
        StorageError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "outcome", "epochs", "val_accuracy", *plan.space, "reason"])
    for trial in studies.counted(study):
        accuracy = _accuracy(trial)
        writer.writerow(
            [
                trial.number,
                trial.user_attrs["outcome"],
                len(trial.intermediate_values),
                "" if accuracy is None else accuracy,
                *(trial.params.get(name, "") for name in plan.space),
                trial.user_attrs.get("reason", ""),
            ]
        )
    path = plan.output_dir / FILE
    storage.write(path, text.getvalue().encode())
    return path


def command(plan: SearchPlan, study: optuna.Study, best: FrozenTrial, run_dir: Path) -> str:
    """Return the command that trains the best settings with all epochs."""
    settings = plan.final_settings(best.params).as_dict()
    arguments = command_line.arguments(settings, of_pictures="listing" in study.user_attrs["data"])
    if plan.devices != 1:
        arguments.append(f"--devices={plan.devices}")
    return shlex.join([*_python("training", *arguments), *_data(plan), f"--run-dir={run_dir}"])


def publishing(plan: SearchPlan, run_dir: Path) -> list[str]:
    """Return the arguments of the command that publishes the final training."""
    name = [] if plan.name is None else [f"--name={plan.name}"]
    folder = [] if plan.models_dir is None else [f"--models-dir={plan.models_dir}"]
    return _python("export", str(run_dir), *folder, *name, *_data(plan))


def _python(*arguments: str) -> list[str]:
    return ["python", "-m", *arguments]


def _data(plan: SearchPlan) -> Sequence[str]:
    return [] if plan.data_dir is None else [f"--data-dir={plan.data_dir}"]


def _accuracy(trial: FrozenTrial) -> float | None:
    """Return the accuracy that judges a trial; of one that is not complete, its last epoch's."""
    if trial.value is not None and trial.user_attrs["outcome"] == "complete":
        return trial.value
    epochs = trial.intermediate_values
    return epochs[max(epochs)] if epochs else None


def _rank(trial: FrozenTrial) -> tuple[bool, float, int]:
    accuracy = _accuracy(trial)
    return (
        trial.user_attrs["outcome"] != "complete",
        -1.0 if accuracy is None else -accuracy,
        trial.number,
    )
