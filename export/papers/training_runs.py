"""Results of trainings, stored as docs/results/training/*.json, and their tables.

Each file is the metrics.json of a run without its long entries, such as the confusion matrix.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from export.errors import ExportError
from export.papers import cells
from export.sources import training_run
from serving import schemas
from serving.repository import publishing
from serving.schemas import SchemaError
from training import storage
from training.settings.recipes import changes_of_recipe

# Test accuracy in the published report on the two models trained here, from a single run of each.
REFERENCES = {"simcnn": 0.7161, "resnet50": 0.7929}
# The accuracy of a training in all tables: one figure, also if the published files are of another
# precision and have accuracies of their own.
TOP1_COLUMN = "top-1 in float32"
TOP1_MEANING = (
    "Top-1 in float32: the accuracy of the trained weights on all test images, before any "
    "conversion to another precision."
)
_METRICS_FILE = "metrics.json"
_LONG = frozenset({"class_names", "confusion_matrix", "per_class_accuracy", "predictions"})
_NEEDED = frozenset({"model", "recipe", "seed", "epochs", "top1", "finished_utc"})


def add(run_dir: Path, results_dir: Path) -> Path:
    """Store the result of a finished run as `<model>-<recipe>-seed<seed>-<time of finish>.json`.

    Args:
        run_dir: Folder of the run; only its metrics.json is read.
        results_dir: Folder for the file; made if it does not exist.

    Returns:
        The file.

    Raises:
        ExportError: metrics.json does not exist, or does not come from a finished training.
    """
    source = run_dir / _METRICS_FILE
    metrics = _read(source)
    kept = training_run.without_paths(
        {name: value for name, value in metrics.items() if name not in _LONG}
    )
    finished = re.sub(r"[^0-9T]", "", str(metrics["finished_utc"])[:19])
    name = f"{metrics['model']}-{metrics['recipe']}-seed{metrics['seed']}-{finished}.json"
    storage.make_folder(results_dir)
    storage.write(results_dir / name, publishing.to_json(kept).encode())
    return results_dir / name


def read_all(results_dir: Path) -> list[dict[str, Any]]:
    """The results in a folder, sorted by model, recipe and changed settings, seed and time.

    Returns:
        One metrics.json a training; an empty list if the folder does not exist.

    Raises:
        ExportError: a file is not the result of a training.
    """
    return sorted(map(_read, results_dir.glob("*.json")), key=_order)


def render(runs: Sequence[Mapping[str, Any]]) -> str:
    """A table of all recipes and a table of all runs.

    Returns:
        Markdown without headings of the first level.
    """
    if not runs:
        return "No results are stored yet."
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["model"], recipe(run)), []).append(run)
    by_recipe = cells.table(
        (
            *("model", "recipe", "runs", f"mean {TOP1_COLUMN}"),
            *("standard deviation", "published reference"),
        ),
        [
            (
                f"`{model}`",
                name,
                str(len(group)),
                cells.percent(fmean(run["top1"] for run in group)),
                _spread([run["top1"] for run in group]),
                cells.percent(REFERENCES.get(model)),
            )
            for (model, name), group in groups.items()
        ],
    )
    each = cells.table(
        (
            "model",
            "recipe",
            "seed",
            "epochs",
            f"{TOP1_COLUMN} (95 % interval)",
            "time",
            "images/s",
            "hardware",
            "commit",
        ),
        map(_row, runs),
    )
    return (
        f"{TOP1_MEANING}\n\n## By recipe\n\n{by_recipe}\n\n"
        "The standard deviation is that of a sample (n - 1), over "
        f"trainings with different seeds or on different machines.\n\n## Run by run\n\n{each}"
    )


def float32_top1(metrics: Mapping[str, Any]) -> float | None:
    """The accuracy of a version's trained weights, 0 to 1: see TOP1_MEANING.

    It is that of the float32 graph. A version without this file has its figures as `reference`.

    Args:
        metrics: Content of the version's metrics.json.

    Returns:
        None if the float32 graph was not measured.
    """
    variants = metrics.get("variants") or {}
    top1: float | None = (variants.get("fp32") or metrics.get("reference") or {}).get("top1")
    return top1


def recipe(run: Mapping[str, Any]) -> str:
    """A run's recipe, with the settings that differ from the recipe: "best, epochs 30"."""
    changes = training_run.without_paths(changed_settings(run))
    return ", ".join([str(run.get("recipe")), *(f"{k} {v}" for k, v in changes.items())])


def changed_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that differ from its recipe as the code has it now, except the seed."""
    settings = run.get("config") or {}
    return changes_of_recipe(settings) if {"model", "recipe"} <= set(settings) else {}


def hardware(run: Mapping[str, Any]) -> str:
    """The hardware of a training: its GPUs, or the processor and its cores."""
    known = run.get("hardware") or {}
    gpus: list[str] = known.get("gpus") or []
    if gpus:
        counts = {name: gpus.count(name) for name in gpus}
        return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())
    if not known.get("cpu"):
        return cells.NONE
    return f"{known['cpu']}, {known.get('cores')} cores"


def _read(file: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(file.read_text("utf-8"))
        schemas.RUN.body(metrics, file)
        missing = sorted(_NEEDED - set(metrics))
    except SchemaError as error:
        raise ExportError(str(error)) from error
    except (OSError, TypeError, ValueError) as error:
        msg = f"{file} cannot be read ({error}); expected the metrics.json of a finished training"
        raise ExportError(msg) from error
    if missing:
        msg = f"{file} lacks {', '.join(missing)}; expected the metrics.json of a finished training"
        raise ExportError(msg)
    return dict(metrics)


def _order(run: Mapping[str, Any]) -> tuple[str, str, int, str]:
    return str(run["model"]), recipe(run), int(run["seed"]), str(run["finished_utc"])


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    speed = run.get("train_images_per_second")
    accuracy = cells.accuracy(run.get("top1"), run.get("top1_wilson_95"), run.get("n"))
    return (
        f"`{run['model']}`",
        recipe(run),
        str(run["seed"]),
        str(run["epochs"]),
        accuracy,
        cells.duration(run.get("wall_seconds")),
        cells.NONE if speed is None else f"{speed:,.0f}",
        hardware(run),
        cells.commit(run.get("git_commit")),
    )


def _spread(shares: Sequence[float]) -> str:
    return f"{100 * stdev(shares):.2f} points" if len(shares) > 1 else cells.NONE
