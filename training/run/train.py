"""Trains one model in a run folder, resumes it after a kill, and evaluates it once at the end.

A run folder holds config.json (written first), history.csv, checkpoints/ and .lock (while
training), tensorboard/, mlflow.json (if MLflow is used), model.keras, curves.png,
confusion_matrix.png and metrics.json. metrics.json is written last: a folder that has it is a
finished run.
"""

import contextlib
import importlib.util
import json
import logging
import shutil
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import keras

from training import devices, environment, plots
from training.batches import (
    EpochSetter,
    TrainingBatches,
    ValidationBatches,
    feed,
    split_validation,
    trim,
)
from training.data.cifar10 import CLASS_NAMES, Cifar10, load
from training.model import architectures, fast_layers, optimizer
from training.model.predictions import evaluate
from training.run import checkpoint, early_stopping, folder
from training.run.callbacks import DivergenceStop, EpochRecorder, read_history, write_history
from training.run.interruption import InterruptBetweenSteps
from training.run.mlflow_run import MlflowRun
from training.run.progress import EpochProgress
from training.settings.recipes import TrainConfig

_VALIDATION_BATCH = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Outcome of a run.

    Attributes:
        run_dir: The run folder.
        metrics: Content of metrics.json.
        was_finished: Whether the run was already finished, so that nothing was trained.
    """

    run_dir: Path
    metrics: dict[str, Any]
    was_finished: bool


@dataclass(frozen=True)
class _Session:
    """Run folder, data, devices and MLflow run of a training; TrainConfig has the settings."""

    run_dir: Path
    data: Cifar10
    devices: list[str]
    mlflow: MlflowRun | None


@dataclass(frozen=True)
class _Trained:
    model: keras.Model
    history: checkpoint.History
    saved_epoch: int  # epoch whose weights `model` has
    counts: dict[str, int]  # numbers of training and validation images


def train(
    config: TrainConfig,
    *,
    run_dir: Path,
    data_dir: Path | None = None,
    device_count: int | Literal["all"] = 1,
    mlflow: str | None = None,
) -> RunResult:
    """Train, or resume a killed run, and evaluate on the test images.

    Args:
        config: Settings; they must be the same as before if `run_dir` holds a run.
        run_dir: The run folder; it is created if it is missing.
        data_dir: See training.data.cifar10.load.
        device_count: Number of GPUs that divide each batch; it may change when a run is resumed.
        mlflow: MLflow server, store or folder to log to as well, see training.run.mlflow_run.

    Returns:
        The result. A finished run is not trained again.

    Raises:
        ConfigError: `run_dir` holds a run with other settings or data (the message names the
            difference), another process trains in it, or devices or MLflow are missing.
        DataError: The data set is missing or damaged; raised before any training.
        DivergedError: The loss became NaN or infinite.
    """
    folder.read(run_dir, config)  # raises before any slow step
    tracker = MlflowRun(mlflow, run_dir, config) if mlflow else None
    finished = _finished(run_dir, tracker)
    if finished:
        return finished
    names = devices.choose(device_count, config)
    session = _Session(run_dir, load(data_dir), names, tracker)
    with folder.lock(run_dir):
        return _finished(run_dir, tracker) or _train(config, session)


def _finished(run_dir: Path, tracker: MlflowRun | None) -> RunResult | None:
    metrics_file = run_dir / "metrics.json"
    if not metrics_file.exists():
        return None
    metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
    if tracker:
        tracker.finish(read_history(run_dir / "history.csv"), metrics)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=True)


def _train(config: TrainConfig, session: _Session) -> RunResult:
    run_dir, tracker = session.run_dir, session.mlflow
    run = folder.begin(run_dir, config, session.data, folder.read(run_dir, config))
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(config.seed)
    try:
        keras.config.set_dtype_policy(_policy_name(config))
        with devices.scope(session.devices):
            trained = _fit(config, session)
    except BaseException as error:
        if tracker:
            tracker.fail("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    finally:
        keras.config.set_dtype_policy(policy)
    metrics = {**_finish(config, session, trained), **run}
    metrics["data"] = {**run["data"], **trained.counts}
    checkpoint.write_json(run_dir / "metrics.json", metrics)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    if tracker:
        tracker.finish(trained.history, metrics)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=False)


def _fit(config: TrainConfig, session: _Session) -> _Trained:
    share = len(session.devices)
    training, validation = split_validation(session.data.train, session.data.test, config)
    validation = trim(validation, share)
    batches = TrainingBatches(training, config, multiple=share)
    model = architectures.build(config.model, weights=config.weights, upsample=config.upsample)
    if optimizer.use_fast_layers(config):
        model = fast_layers.accelerate(model)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=len(batches)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=optimizer.jit_compile(config),
    )
    checkpoints = session.run_dir / "checkpoints"
    history = checkpoint.restore(checkpoints, model)
    recorder = EpochRecorder(session.run_dir, history, keep_best=config.early_stopping > 0)
    history, done = recorder.history, len(history)
    write_history(session.run_dir / "history.csv", history)
    _log.info(
        "%s, recipe %s: epochs %d to %d on %d images, %d for validation; Keras %s on %s",
        *(config.model, config.recipe, done + 1, config.epochs, len(training), len(validation)),
        *(keras.__version__, keras.backend.backend()),
    )
    if done < config.epochs and not early_stopping.is_over(history, config.early_stopping):
        validation_batches = ValidationBatches(validation, _VALIDATION_BATCH // share * share)
        progress = EpochProgress(
            epochs=config.epochs, images=len(training), batch_size=config.batch_size
        )
        with contextlib.closing(progress), InterruptBetweenSteps() as interruption:
            model.fit(
                feed(batches),
                validation_data=feed(validation_batches),
                epochs=config.epochs,
                initial_epoch=done,
                shuffle=False,  # TrainingBatches shuffles, reproducibly
                callbacks=[*_callbacks(config, session, batches, recorder), progress, interruption],
                verbose=0,  # EpochProgress takes the place of Keras' progress bar
            )
    saved_epoch = len(history)
    if config.early_stopping:
        restored = checkpoint.restore(checkpoints, model, rank=early_stopping.rank)
        saved_epoch = len(restored) or saved_epoch
    if config.ema_span:
        # Copy the averaged weights into the model. `fit` does this too, but it may not have run.
        model.optimizer.finalize_variable_values(model.trainable_variables)
    counts = {"train_images": len(training), "validation_images": len(validation)}
    return _Trained(model, history, saved_epoch, counts)


def _callbacks(
    config: TrainConfig, session: _Session, batches: TrainingBatches, recorder: EpochRecorder
) -> list[keras.callbacks.Callback]:
    """Return the callbacks in the order in which they must run: checks before records."""
    callbacks = [EpochSetter(batches), DivergenceStop()]
    if config.ema_span:
        # Validation sees the averaged weights; checkpoints keep both sets.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    callbacks.append(recorder)
    if config.early_stopping:
        callbacks.append(early_stopping.EarlyStop(recorder.history, config.early_stopping))
    if session.mlflow:
        log = session.mlflow.log
        callbacks.append(
            keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: log(recorder.history))
        )
    if all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")):
        callbacks.append(
            keras.callbacks.TensorBoard(
                session.run_dir / "tensorboard", write_graph=False, profile_batch=0
            )
        )
    else:
        _log.info("no TensorBoard logs: they need tensorflow and tensorboard installed")
    return callbacks


def _stopping(config: TrainConfig, trained: _Trained) -> dict[str, int | None]:
    """Return the entries of early stopping for metrics.json; empty if it is off.

    `stopped_epoch` is the last epoch, or None if all epochs ran. `best_epoch` is the epoch whose
    weights are saved.
    """
    if not config.early_stopping:
        return {}
    epochs = len(trained.history)
    return {
        "stopped_epoch": epochs if epochs < config.epochs else None,
        "best_epoch": trained.saved_epoch,
    }


def _policy_name(config: TrainConfig) -> str:
    return "float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}"


def _finish(config: TrainConfig, session: _Session, trained: _Trained) -> dict[str, Any]:
    """Save the model in float32, evaluate it on the test images, and save the figures.

    Returns:
        Content of metrics.json, without that of config.json.
    """
    began = time.perf_counter()
    run_dir, history = session.run_dir, trained.history
    _log.info("saving the model, and asking it about %d test images", len(session.data.test))
    model = architectures.rebuild(trained.model, config.model, upsample=config.upsample)
    checkpoint.write_atomically(run_dir / "model.keras", model.save)
    result = evaluate(model, session.data.test)
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
        **_stopping(config, trained),
        **result.as_dict(),
        "class_names": list(CLASS_NAMES),
        "imagenet_weights": architectures.has_imagenet_preprocessing(model),
        "last_epoch": history[-1],
        # Speed of the median epoch, so that compiling in the first epoch does not count.
        "train_images_per_second": round(
            trained.counts["train_images"]
            / statistics.median(row["train_seconds"] for row in history),
            1,
        ),
        # Epochs of all sessions and this evaluation, without epochs that a kill discarded.
        "wall_seconds": round(
            sum(row["seconds"] for row in history) + time.perf_counter() - began, 1
        ),
        "devices": len(session.devices),
        **environment.describe(),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
