"""Trainings of both models on JAX, each within a time limit.

The training plans its epochs by `--time-budget`, so that the learning rate falls to 0 in the last
one.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu.results import Results, read_json

# Flags of `python -m training` by model, besides --epochs, --time-budget and the two folders.
FLAGS: Mapping[str, tuple[str, ...]] = {
    "simcnn": (
        *("--recipe", "best", "--batch-size", "512", "--learning-rate", "0.006"),
        *("--mixed-precision", "bfloat16"),
    ),
    "resnet50": ("--recipe", "gpu-5min"),
}
MOST_EPOCHS = 60
# Share of the time that the training's budget leaves out: the import of JAX and Keras, which the
# budget does not count, and the scatter of its estimates.
_RESERVE = 0.15


def run(
    model: str,
    results: Results,
    *,
    runs: Path,
    data_dir: Path,
    seconds: float,
    device: str,
    flags: tuple[str, ...] | None = None,
    most_epochs: int = MOST_EPOCHS,
) -> Path | None:
    """Train a model within a time limit; adds one row.

    Args:
        model: simcnn or resnet50.
        results: Receives the rows.
        runs: Folder for the run folders.
        data_dir: CIFAR-10, see training.data.cifar10.load.
        seconds: The time limit, in seconds.
        device: cuda or cpu.
        flags: Flags of `python -m training`; None for those of `FLAGS`.
        most_epochs: Most epochs, however fast they are.

    Returns:
        The folder of the finished run; None if the training failed or did not end in time.
    """
    given = FLAGS[model] if flags is None else flags
    run_dir = runs / model
    shutil.rmtree(run_dir, ignore_errors=True)  # a run with another budget would be refused there
    budget = training_budget(seconds)
    command = ["-m", "training", model, *given, "--epochs", str(most_epochs)]
    command += ["--time-budget", str(budget)]
    command += ["--run-dir", str(run_dir), "--data-dir", str(data_dir)]
    error = _finish(command, _environment(device, runs), seconds)
    row: dict[str, Any] = {"model": model, "flags": list(given), "budget_seconds": budget}
    results.add(row | ({"error": error} | _progress(run_dir) if error else _outcome(run_dir)))
    return None if error else run_dir


def training_budget(seconds: float) -> int:
    """Return the `--time-budget` of a training with a time limit, in whole seconds from 1 on."""
    return max(1, int((1 - _RESERVE) * seconds))


def _environment(device: str, runs: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(runs.resolve() / "compiled"),
        # Keras' default on JAX takes three quarters of the memory, which ResNet50 may exceed.
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
    }
    return environment | ({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})


def _finish(arguments: list[str], environment: Mapping[str, str], seconds: float) -> str | None:
    """Run a training; return the error if it failed or did not end in time."""
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=sys.stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=max(1.0, seconds),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {seconds:.0f} s"
    print(done.stderr[-2000:], file=sys.stderr, flush=True)
    if not done.returncode:
        return None
    last = done.stderr.strip().splitlines() or ["no message"]
    return f"exit code {done.returncode}: {last[-1]}"[:300]


def _history(run_dir: Path) -> list[dict[str, float]]:
    """Return the epochs of a run so far.

    The training's own reader imports Keras, which could take the GPU's memory in this process.
    """
    file = run_dir / "history.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as rows:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(rows)]


def _progress(run_dir: Path) -> dict[str, Any]:
    """Return how far a training came that did not end."""
    history = _history(run_dir)
    if not history:
        return {"epochs_done": 0}
    return {"epochs_done": len(history), "val_accuracy": history[-1]["val_accuracy"]}


def _outcome(run_dir: Path) -> dict[str, Any]:
    metrics = read_json(run_dir / "metrics.json")
    names = ("epochs", "n", "top1", "top1_wilson_95", "train_images_per_second", "wall_seconds")
    hardware = metrics["hardware"]
    return {name: metrics[name] for name in names} | {"gpus": hardware["gpus"]}
