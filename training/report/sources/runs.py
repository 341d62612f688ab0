"""Reading run folders: settings, history and, if the run is finished, its result."""

import csv
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import schemas
from training.data.cifar10 import CLASS_NAMES
from training.evaluation.accuracy import wilson_interval
from training.schemas import SchemaError
from training.settings import command_line
from training.settings.recipes import changes_of_architecture, changes_of_recipe


class ReportError(ValueError):
    """The given folders cannot be reported on; the message says why."""


@dataclass(frozen=True)
class HeldOut:
    """Accuracy of a run's saved weights on the training images that the training held out.

    Attributes:
        share: Share classified correctly, 0 to 1.
        n: Number of images.
    """

    share: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `share`."""
        return wilson_interval(round(self.share * self.n), self.n)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run folder.

    Attributes:
        name: Name in the report: the folder's name, preceded by as many parent folders as make it
            unique.
        folder: The run folder.
        settings: The training's settings, as in config.json.
        data: Variant and digests of the data, as in config.json.
        history: A row for each epoch, see training.run.callbacks.HISTORY_COLUMNS.
        metrics: Content of metrics.json; None while the run is unfinished.
    """

    name: str
    folder: Path
    settings: dict[str, Any]
    data: dict[str, Any]
    history: list[dict[str, float]]
    metrics: dict[str, Any] | None

    @property
    def is_finished(self) -> bool:
        """Whether the run has a result."""
        return self.metrics is not None

    @property
    def result(self) -> dict[str, Any]:
        """Content of metrics.json.

        Raises:
            ReportError: The run is unfinished.
        """
        if self.metrics is None:
            msg = f"{self.folder} is unfinished and has no result"
            raise ReportError(msg)
        return self.metrics

    @property
    def held_out(self) -> HeldOut | None:
        """The accuracy that ranks the run: on held-out training images, as the history records it.

        It is that of the epoch whose weights were saved, in the training's precision. None if the
        training held out no images (validation test), or if the run does not record the accuracy.
        """
        if self.settings.get("validation") == "test":
            return None
        n = self.result.get("data", {}).get("validation_images")
        saved = self.result.get("best_epoch") or self.result.get("epochs")
        rows = [row for row in self.history if row["epoch"] == saved]
        return HeldOut(rows[-1]["val_accuracy"], int(n)) if rows and n else None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; an unfinished run that does not record them has CIFAR-10's."""
        names = (self.metrics or {}).get("class_names") or self.data.get("class_names")
        return list(names or CLASS_NAMES)

    @property
    def is_of_reference_data(self) -> bool:
        """Whether the run was trained on CIFAR-10, which the published figures are about."""
        return not str(self.data.get("variant")).startswith("picture-")

    @property
    def correct(self) -> int:
        """Number of test images classified correctly."""
        matrix = self.result["confusion_matrix"]
        return sum(matrix[label][label] for label in range(len(matrix)))

    @property
    def architecture(self) -> str:
        """Model, with its changes of the reference architecture: "resnet50, images x 7"."""
        return ", ".join([str(self.settings["model"]), *changes_of_architecture(self.settings)])

    @property
    def recipe(self) -> str:
        """Model, recipe and changed settings without the seed: "simcnn best (epochs 2)"."""
        changes = ", ".join(
            f"{name} {value}" for name, value in changes_of_recipe(self.settings).items()
        )
        name = f"{self.settings['model']} {self.settings['recipe']}"
        return f"{name} ({changes})" if changes else name

    def command(self, run_dir: Path | None = None) -> str:
        """Return the command that repeats the training in `run_dir`, or resumes it by default."""
        arguments = command_line.arguments(self.settings, of_pictures=not self.is_of_reference_data)
        folder = f"--run-dir={run_dir or self.folder}"
        return shlex.join(["python", "-m", "training", *arguments, folder])


def read_all(folders: Iterable[Path]) -> list[RunRecord]:
    """Read run folders; a folder that is given twice is read once.

    Raises:
        ReportError: A folder holds no run, one of its files is damaged, or no run is finished.
    """
    by_place: dict[Path, Path] = {}
    for folder in folders:
        by_place.setdefault(folder.resolve(), folder)
    unique = list(by_place.values())
    runs = [_read(folder, name) for folder, name in zip(unique, _short_names(unique), strict=True)]
    if not any(run.is_finished for run in runs):
        states = "; ".join(
            f"{run.folder} has {len(run.history)} of {run.settings['epochs']} epochs"
            for run in runs
        )
        msg = f"no run given is finished ({states}); this command resumes one: {runs[0].command()}"
        raise ReportError(msg)
    return runs


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, preceded by as many parent folders as make them unique."""
    paths = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-depth:])) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _read(folder: Path, name: str) -> RunRecord:
    begun = _read_json(folder / "config.json")
    if begun is None:
        msg = (
            f"{folder} is no run folder: it has no config.json; pass folders that "
            "`python -m training MODEL --run-dir DIR` wrote"
        )
        raise ReportError(msg)
    try:
        settings: dict[str, Any] = begun["config"]
        data: dict[str, Any] = begun["data"]
        missing = {"model", "recipe", "epochs", "seed"} - set(settings)
    except (LookupError, TypeError) as error:
        msg = f"{folder / 'config.json'} is no config of a run ({error!r}); train it again"
        raise ReportError(msg) from error
    if missing:
        names = ", ".join(sorted(missing))
        msg = f"{folder / 'config.json'} lacks the settings {names}; train it again"
        raise ReportError(msg)
    metrics = _read_json(folder / "metrics.json")
    if metrics is not None and not (
        isinstance(metrics, dict) and {"confusion_matrix", "top1", "n"} <= set(metrics)
    ):
        msg = (
            f"{folder / 'metrics.json'} is no result of a run; remove it, and run python -m "
            "training with the settings in config.json to write it again"
        )
        raise ReportError(msg)
    return RunRecord(
        name=name,
        folder=folder,
        settings=settings,
        data=data,
        history=_read_history(folder / "history.csv"),
        metrics=metrics,
    )


def _read_json(path: Path) -> Any:  # noqa: ANN401  JSON
    """Return the file's content; None if the file does not exist."""
    try:
        return schemas.RUN.body(json.loads(path.read_text(encoding="utf-8")), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except SchemaError as error:
        raise ReportError(str(error)) from error
    except (OSError, ValueError) as error:
        msg = f"{path} can't be read ({error}); restore it, or train the run again"
        raise ReportError(msg) from error


def _read_history(path: Path) -> list[dict[str, float]]:
    """Return a row for each epoch; no rows if the file does not exist."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ValueError) as error:
        msg = f"{path} can't be read ({error}); restore it, or train the run again"
        raise ReportError(msg) from error
