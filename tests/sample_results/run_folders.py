"""Run folders as a training writes them, without training, for tests of their readers."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.accuracy import score
from training.run.callbacks import HISTORY_COLUMNS
from training.settings.recipes import from_recipe

DATA = {"variant": "cifar-10-binary", "train_sha256": "a" * 64, "test_sha256": "b" * 64}
HARDWARE = {"cpu": "Some CPU", "cores": 2, "machine": "x86_64", "gpus": []}


def write_run(
    folder: Path,
    model: str = "simcnn",
    recipe: str = "best",
    *,
    correct: int = 80,
    held_out: int | None = None,
    seconds: float = 600.0,
    data: dict[str, Any] | None = None,
    hardware: dict[str, Any] | None = None,
    epochs_done: int | None = None,
    **overrides: Any,
) -> Path:
    """Write config.json, history.csv and metrics.json of a run with 100 test images.

    It has 100 validation images as well.

    Args:
        folder: Run folder, which must not exist.
        model: Name of the architecture.
        recipe: Name of the recipe.
        correct: Number of test images classified correctly, the first ones of the 100.
        held_out: Number of held-out training images classified correctly, of 100, at the end of
            each epoch; by default the same number.
        seconds: Training time in seconds.
        data: The section "data" of config.json.
        hardware: The section "hardware" of metrics.json.
        epochs_done: If given, the run is unfinished after this number of epochs.
        **overrides: Settings that differ from the recipe.
    """
    config = from_recipe(model, recipe, **overrides)
    data = data or DATA
    done = config.epochs if epochs_done is None else epochs_done
    folder.mkdir(parents=True)
    share = (correct if held_out is None else held_out) / 100
    history = [
        dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"epoch": n + 1, "val_accuracy": share}
        for n in range(done)
    ]
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(history)
    begun = {"config": config.as_dict(), "data": data, "git_commit": "c" * 40}
    (folder / "config.json").write_text(json.dumps(begun))
    if epochs_done is None:
        labels = np.arange(100) % 10
        answers = np.where(np.arange(100) < correct, labels, (labels + 1) % 10)
        metrics = {
            "model": model,
            "parameters": {"simcnn": 122_570, "resnet50": 25_696_138}[model],
            "recipe": recipe,
            "seed": config.seed,
            "epochs": done,
            **score(np.eye(10, dtype=np.float32)[answers] * 5, labels).as_dict(),
            "train_images_per_second": 1000.0,
            "wall_seconds": seconds,
            "hardware": hardware or HARDWARE,
            "versions": {"python": "3.11.0"},
            "finished_utc": "2026-01-01T00:00:00+00:00",
            **begun,
            "data": data | {"train_images": 900, "validation_images": 100},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder
