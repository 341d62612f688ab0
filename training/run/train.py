"""Trains one model in a run folder, resumes it after a kill, and evaluates it once at the end.

A run folder holds config.json (written first), history.csv, checkpoints/ and .lock (while
training), tensorboard/, mlflow.json (if MLflow is used), time_budget.json (if there is a time
budget), model.keras, curves.png, confusion_matrix.png and metrics.json. metrics.json is written
last: a folder that has it is a finished run.
"""

import json
import logging
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from training import devices, environment, plots, schemas
from training.batches.validation_split import split_validation
from training.data.data_set import DataSet
from training.device_loop.choice import use_device_loop
from training.evaluation import temperature
from training.evaluation.accuracy import score
from training.model import architectures
from training.model.predictions import evaluate, logits_of_rows
from training.run import checkpoint, fitting, folder, folder_lock
from training.run.callbacks import read_history
from training.run.epoch_speed import SpeedRecord
from training.run.fitting import Session, Trained
from training.run.mlflow_run import MlflowRun
from training.run.time_budget import TimeBudget
from training.schemas import SchemaError
from training.settings.recipes import ConfigError, TrainConfig
from training.sources import opening

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


def train(
    config: TrainConfig,
    *,
    run_dir: Path,
    data_dir: Path | None = None,
    device_count: int | Literal["all"] = 1,
    mlflow: str | None = None,
    checkpoint_every: int = 1,
    refuse_broken: bool = False,
    licence: str | None = None,
    search: Mapping[str, Any] | None = None,
) -> RunResult:
    """Train, or resume a killed run, and evaluate on the test images.

    Args:
        config: Settings; they must be the same as before if `run_dir` holds a run.
        run_dir: The run folder; it is created if it is missing.
        data_dir: See training.sources.opening.find.
        device_count: Number of GPUs that divide each batch; it may change when a run is resumed.
        mlflow: MLflow server, store or folder to log to as well, see training.run.mlflow_run.
        checkpoint_every: Epochs between two checkpoints; it may change when a run is resumed.
        refuse_broken: Whether a file that is no readable picture is an error.
        licence: Licence of the pictures, for the model card; None if it is not known.
        search: The search that chose the settings, for metrics.json and the model card; None if
            there was none.

    Returns:
        The result. A finished run is not trained again.

    Raises:
        ConfigError: `run_dir` holds a run with other settings or data (the message names the
            difference) or of a newer program, another process trains in it, devices or MLflow are
            missing, or `checkpoint_every` is below 1.
        DataError: The data set is missing or damaged; raised before any training.
        DivergedError: The loss became NaN or infinite.
        StorageError: A file cannot be written. The next call resumes the run.
    """
    began = time.monotonic()
    if checkpoint_every < 1:
        msg = f"checkpoint_every is {checkpoint_every}, expected 1 or more epochs"
        raise ConfigError(msg)
    folder.read(run_dir, config)  # raises before any slow step
    tracker = MlflowRun(mlflow, run_dir, config) if mlflow else None
    finished = _finished(run_dir, tracker)
    if finished:
        return finished
    names = devices.choose(device_count, config)
    on_device = use_device_loop(config, len(names))
    data = _load(data_dir, config, refuse_broken=refuse_broken)
    with folder_lock.lock(run_dir):
        finished = _finished(run_dir, tracker)
        if finished:
            return finished
        budget = TimeBudget(run_dir, config, began=began) if config.time_budget else None
        session = Session(
            run_dir=run_dir,
            data=data,
            devices=names,
            on_device=on_device,
            checkpoint_every=checkpoint_every,
            budget=budget,
            mlflow=tracker,
            licence=licence,
            search=search,
        )
        return _train(config, session)


def rehearse(
    config: TrainConfig,
    *,
    run_dir: Path,
    data_dir: Path | None = None,
    device_count: int | Literal["all"] = 1,
    checkpoint_every: int = 1,
    refuse_broken: bool = False,
    speed: SpeedRecord | None = None,
) -> checkpoint.History:
    """Train like `train`, or resume, and end after the last epoch: the test images are not asked.

    The run folder gets config.json, history.csv, checkpoints and TensorBoard's logs. `speed`
    records the speed.

    Returns:
        One row for each epoch.

    Raises:
        ConfigError, DataError, DivergedError, StorageError: See `train`.
    """
    begun = folder.read(run_dir, config)
    names = devices.choose(device_count, config)
    session = Session(
        run_dir=run_dir,
        data=_load(data_dir, config, refuse_broken=refuse_broken),
        devices=names,
        on_device=use_device_loop(config, len(names)),
        checkpoint_every=checkpoint_every,
        budget=None,
        mlflow=None,
        speed=speed,
    )
    with folder_lock.lock(run_dir):
        folder.begin(run_dir, config, session.data, begun)
        return _fit(config, session).history


def _load(data_dir: Path | None, config: TrainConfig, *, refuse_broken: bool) -> DataSet:
    data = opening.load(
        data_dir, config.image_size, split_seed=config.split_seed, refuse_broken=refuse_broken
    )
    if data.facts:
        _log.info(
            "%d classes, %s training and %s test pictures at %dx%d pixels",
            *(len(data.class_names), f"{len(data.train):,}", f"{len(data.test):,}"),
            *(config.image_size, config.image_size),
        )
    return data


def _finished(run_dir: Path, tracker: MlflowRun | None) -> RunResult | None:
    metrics_file = run_dir / "metrics.json"
    if not metrics_file.exists():
        return None
    document = json.loads(metrics_file.read_text(encoding="utf-8"))
    try:
        metrics = schemas.RUN.body(document, metrics_file)
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    if tracker:
        tracker.finish(read_history(run_dir / "history.csv"), metrics)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=True)


def _train(config: TrainConfig, session: Session) -> RunResult:
    run_dir, tracker = session.run_dir, session.mlflow
    run = folder.begin(
        run_dir,
        config,
        session.data,
        folder.read(run_dir, config),
        licence=session.licence,
        search=session.search,
    )
    try:
        trained = _fit(config, session)
    except BaseException as error:
        if tracker:
            tracker.fail("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    metrics = {**_finish(config, session, trained), **run}
    metrics["data"] = {**run["data"], **trained.counts}
    checkpoint.write_json(run_dir / "metrics.json", schemas.RUN.stamped(metrics))
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    if tracker:
        tracker.finish(trained.history, metrics)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=False)


def _fit(config: TrainConfig, session: Session) -> Trained:
    """Train the missing epochs with the seed, compute type and devices of the settings."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(config.seed)
    try:
        keras.config.set_dtype_policy(_policy_name(config))
        with devices.scope(session.devices):
            return fitting.fit(config, session)
    finally:
        keras.config.set_dtype_policy(policy)


def _stopping(config: TrainConfig, trained: Trained) -> dict[str, int | None]:
    """Return the entries of early stopping for metrics.json; empty if it is off.

    `stopped_epoch` is the last epoch, or None if all epochs ran. `best_epoch` is the epoch whose
    weights are saved.
    """
    if not config.early_stopping:
        return {}
    epochs = len(trained.history)
    return {
        "stopped_epoch": epochs if epochs < trained.planned_epochs else None,
        "best_epoch": trained.saved_epoch,
    }


def _policy_name(config: TrainConfig) -> str:
    return "float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}"


def _calibrate(model: keras.Model, config: TrainConfig, session: Session) -> dict[str, Any]:
    """Divide a model's logits by the temperature that fits the validation images best.

    The last layer is linear, so that dividing its weights by the temperature divides the logits:
    the graph stays the same.

    Returns:
        Section `calibration` of metrics.json: the temperature; and of validation and test images
        the calibration error and cross-entropy before, and the error after.
    """
    data = session.data
    _, validation = split_validation(data.train, data.test, config, given=data.validation_images)
    logits = logits_of_rows(model, validation)
    chosen = temperature.fit(logits, validation.labels)
    before = score(logits_of_rows(model, data.test), data.test.labels, None, data.class_names)
    layer = model.get_layer("logits")
    layer.set_weights([weights / np.float32(chosen) for weights in layer.get_weights()])

    def error(scale: float) -> float:
        evaluation = score(logits / np.float32(scale), validation.labels, None, data.class_names)
        return evaluation.calibration_error

    section = {
        "temperature": chosen,
        "validation_images": len(validation),
        "validation_error_before": error(1.0),
        "validation_error_after": error(chosen),
        "test_error_before": before.calibration_error,
        "test_loss_before": before.loss,
    }
    _log.info(
        "temperature %.3f: calibration error of the validation images %.2f %%, before %.2f %%",
        *(chosen, 100 * section["validation_error_after"]),
        100 * section["validation_error_before"],
    )
    return {"calibration": section}


def _finish(config: TrainConfig, session: Session, trained: Trained) -> dict[str, Any]:
    """Save the model in float32, evaluate it on the test images, and save the figures.

    Returns:
        Content of metrics.json, without that of config.json.
    """
    began = time.perf_counter()
    run_dir, history = session.run_dir, trained.history
    _log.info("saving the model, and asking it about %d test images", len(session.data.test))
    model = architectures.rebuild(
        trained.model, config.model, upsample=config.upsample, stem=config.stem
    )
    calibrated = _calibrate(model, config, session) if config.calibrate else {}
    checkpoint.write_model(run_dir / "model.keras", model)
    names = session.data.class_names
    result = evaluate(model, session.data.test, names)
    title = f"{config.model}, recipe {config.recipe}, seed {config.seed}"
    plots.save_curves(run_dir / "curves.png", history, title)
    plots.save_confusion_matrix(
        run_dir / "confusion_matrix.png",
        result.confusion_matrix,
        f"{title}: {result.top1:.2%} of {result.n:,} test images",
        names,
    )
    return {
        "model": config.model,
        "parameters": model.count_params(),
        "recipe": config.recipe,
        "seed": config.seed,
        "epochs": len(history),
        **_stopping(config, trained),
        **({"time_budget": session.budget.summary()} if session.budget else {}),
        **result.as_dict(),
        **calibrated,
        "class_names": list(names),
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
        "device_epochs": session.on_device,
        **environment.describe(),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
