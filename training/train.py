"""Train one model in a run folder, resume it after a kill, and measure it once at the end.

A run folder holds config.json (written first), history.csv, checkpoints/ (while training),
tensorboard/, model.keras, curves.png, confusion_matrix.png and, last, metrics.json: a folder with
metrics.json is a finished run.
"""

import importlib.util
import json
import logging
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from training import checkpoint, environment, models, optimizer, plots, run_folder
from training.callbacks import DivergenceStop, EpochRecorder, write_history
from training.cifar10 import CLASS_NAMES, Cifar10, load
from training.config import TrainConfig
from training.evaluate import evaluate
from training.input_pipeline import EpochSetter, TrainingBatches, one_hot, split_validation

_VALIDATION_BATCH = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Outcome of a run.

    Attributes:
        run_dir: The run folder.
        metrics: Content of metrics.json.
        was_finished: The run had been finished before; nothing was trained.
    """

    run_dir: Path
    metrics: dict[str, Any]
    was_finished: bool


@dataclass(frozen=True)
class _Trained:
    model: keras.Model
    history: checkpoint.History
    counts: dict[str, int]  # of training and validation images


def train(config: TrainConfig, *, run_dir: Path, data_dir: Path | None = None) -> RunResult:
    """Train, or go on where a killed run stopped, and evaluate on the test images.

    Args:
        config: Settings; the same as before when `run_dir` holds an unfinished run.
        run_dir: Created if need be.
        data_dir: See training.cifar10.load.

    Returns:
        The metrics. A finished run is not trained again.

    Raises:
        ConfigError: `run_dir` belongs to other settings or other data; names the difference.
        DataError: The data set is missing or damaged; raised before any training.
        DivergedError: The loss became NaN or infinite.
    """
    run = run_folder.read(run_dir, config)
    metrics_file = run_dir / "metrics.json"
    if metrics_file.exists():
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        return RunResult(run_dir=run_dir, metrics=metrics, was_finished=True)

    data = load(data_dir)
    run = run_folder.begin(run_dir, config, data, run)
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(config.seed)
    try:
        keras.config.set_dtype_policy(_policy_name(config))
        trained = _fit(config, run_dir, data)
    finally:
        keras.config.set_dtype_policy(policy)
    metrics = {**_finish(config, run_dir, data, trained), **run}
    metrics["data"] = {**run["data"], **trained.counts}
    checkpoint.write_json(metrics_file, metrics)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=False)


def _fit(config: TrainConfig, run_dir: Path, data: Cifar10) -> _Trained:
    training, validation = split_validation(data.train, data.test, config)
    batches = TrainingBatches(training, config)
    model = models.build(config.model, weights=config.weights, upsample=config.upsample)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=len(batches)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=optimizer.jit_compile(config),
    )
    recorder = EpochRecorder(run_dir, checkpoint.restore(run_dir / "checkpoints", model))
    done = len(recorder.history)
    write_history(run_dir / "history.csv", recorder.history)
    _log.info(
        "%s, recipe %s: epochs %d to %d on %d images, %d for validation; Keras %s on %s",
        *(config.model, config.recipe, done + 1, config.epochs, len(training), len(validation)),
        *(keras.__version__, keras.backend.backend()),
    )
    if done < config.epochs:
        model.fit(
            batches,
            validation_data=(validation.images, one_hot(validation.labels)),
            validation_batch_size=_VALIDATION_BATCH,
            epochs=config.epochs,
            initial_epoch=done,
            shuffle=False,  # TrainingBatches shuffles, reproducibly
            callbacks=_callbacks(config, run_dir, batches, recorder),
            # A bar where a person watches, a line an epoch in a log.
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if config.ema_span:
        # Puts the averaged weights into the model. `fit` did, unless no epoch was left to train.
        model.optimizer.finalize_variable_values(model.trainable_variables)
    counts = {"train_images": len(training), "validation_images": len(validation)}
    return _Trained(model, recorder.history, counts)


def _callbacks(
    config: TrainConfig, run_dir: Path, batches: TrainingBatches, recorder: EpochRecorder
) -> list[keras.callbacks.Callback]:
    """In the order in which they must run: checks, then records."""
    callbacks = [EpochSetter(batches), DivergenceStop()]
    if config.ema_span:
        # Validation sees the averaged weights; checkpoints keep both sets.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    callbacks.append(recorder)
    if all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        callbacks.append(
            keras.callbacks.TensorBoard(run_dir / "tensorboard", write_graph=False, profile_batch=0)
        )
    else:
        _log.info("no TensorBoard logs: they need tensorflow and tensorboard installed")
    return callbacks


def _policy_name(config: TrainConfig) -> str:
    return "float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}"


def _finish(
    config: TrainConfig,
    run_dir: Path,
    data: Cifar10,
    trained: _Trained,
) -> dict[str, Any]:
    """Save model and pictures, and evaluate the model as saved: in float32, on the test images."""
    began = time.perf_counter()
    history = trained.history
    model = models.rebuild(trained.model, config.model, upsample=config.upsample)
    checkpoint.write_atomically(run_dir / "model.keras", model.save)
    result = evaluate(model, data.test)
    title = f"{config.model}, recipe {config.recipe}, seed {config.seed}"
    plots.save_curves(run_dir / "curves.png", history, title)
    plots.save_confusion_matrix(
        run_dir / "confusion_matrix.png",
        result.confusion_matrix,
        f"{title}: {result.top1:.2%} of {result.n:,} test images",
    )
    return {
        "model": config.model,
        "parameters": model.count_params(),
        "recipe": config.recipe,
        "seed": config.seed,
        "epochs": len(history),
        **result.as_dict(),
        "class_names": list(CLASS_NAMES),
        "imagenet_weights": models.has_imagenet_preprocessing(model),
        "last_epoch": history[-1],
        # The median epoch's, so that compiling in the first one doesn't count.
        "train_images_per_second": round(
            trained.counts["train_images"]
            / statistics.median(row["train_seconds"] for row in history),
            1,
        ),
        # Epochs of all sessions and this evaluation; not what a kill threw away.
        "wall_seconds": round(
            sum(row["seconds"] for row in history) + time.perf_counter() - began, 1
        ),
        **environment.describe(),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
