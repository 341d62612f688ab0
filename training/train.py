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

from training import checkpoint, environment, models, plots
from training.callbacks import DivergenceStop, EpochRecorder, write_history
from training.cifar10 import CLASS_NAMES, Cifar10, load
from training.config import ConfigError, TrainConfig
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
    run = _read_run(run_dir, config)
    metrics_file = run_dir / "metrics.json"
    if metrics_file.exists():
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        return RunResult(run_dir=run_dir, metrics=metrics, was_finished=True)

    data = load(data_dir)
    run = _open_run(run_dir, config, data, run)
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(config.seed)
    try:
        keras.config.set_dtype_policy(_policy_name(config))
        model, history, counts = _fit(config, run_dir, data)
    finally:
        keras.config.set_dtype_policy(policy)
    metrics = _finish(config, run_dir, data, model, history) | run | {"data": run["data"] | counts}
    checkpoint.write_json(metrics_file, metrics)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    return RunResult(run_dir=run_dir, metrics=metrics, was_finished=False)


# The run folder's identity


def _read_run(run_dir: Path, config: TrainConfig) -> dict[str, Any]:
    """Content of config.json, checked against `config`; empty for a new run."""
    path = run_dir / "config.json"
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        saved: dict[str, Any] = run["config"]
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError) as error:
        msg = f"{path} is no config of a run ({error}); pass another --run-dir or remove it"
        raise ConfigError(msg) from error
    given = config.as_dict()
    names = [name for name in {**saved, **given} if saved.get(name) != given.get(name)]
    if names:
        differences = ", ".join(f"{n} {saved.get(n)} there, {given.get(n)} now" for n in names)
        msg = (
            f"{run_dir} holds a run with other settings ({differences}); "
            "repeat its settings to resume it, or pass another --run-dir"
        )
        raise ConfigError(msg)
    return run


def _open_run(
    run_dir: Path, config: TrainConfig, data: Cifar10, run: dict[str, Any]
) -> dict[str, Any]:
    """Write config.json for a new run, or check that an old one goes on with the same data."""
    facts = {
        "variant": data.variant,
        "train_sha256": data.train.sha256(),
        "test_sha256": data.sha256,
    }
    commit = environment.git_commit()
    if not run:
        run = {
            "config": config.as_dict(),
            "data": facts,
            "git_commit": commit,
            "resumed_with_git_commits": [],
        }
    elif run["data"] != facts:
        msg = (
            f"{run_dir} was begun with other data ({run['data']} there, {facts} now); "
            "pass the same --data-dir, or another --run-dir"
        )
        raise ConfigError(msg)
    elif commit not in (run["git_commit"], *run["resumed_with_git_commits"]):
        _log.warning("resuming at commit %s a run begun at %s", commit, run["git_commit"])
        run["resumed_with_git_commits"].append(commit)
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(run_dir / "config.json", run)
    return run


# Training


def _fit(
    config: TrainConfig, run_dir: Path, data: Cifar10
) -> tuple[keras.Model, checkpoint.History, dict[str, int]]:
    training, validation = split_validation(data.train, data.test, config)
    batches = TrainingBatches(training, config)
    model = models.build(config.model, weights=config.weights, upsample=config.upsample)
    model.compile(
        optimizer=_optimizer(config, steps_per_epoch=len(batches)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=_jit_compile(config),
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
    return model, recorder.history, counts


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


def _optimizer(config: TrainConfig, *, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
    if config.schedule == "cosine":
        warmup = config.warmup_epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else config.learning_rate,
            decay_steps=config.epochs * steps_per_epoch - warmup,
            warmup_target=config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    span = config.ema_span * config.epochs * steps_per_epoch
    common = {
        "weight_decay": config.weight_decay,
        "use_ema": config.ema_span > 0,
        "ema_momentum": max(0.0, 1 - 1 / span) if span > 0 else 0.0,
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **common)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, **common)
    else:
        optimizer = keras.optimizers.Adam(rate, **common)
    # Shrinking a bias or a normalisation's scale and shift regularises nothing.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def _jit_compile(config: TrainConfig) -> bool | str:
    if config.xla != "auto":
        return config.xla == "on"
    on_cpu = keras.backend.backend() == "tensorflow" and not environment.gpu_names()
    return False if on_cpu else "auto"


def _policy_name(config: TrainConfig) -> str:
    return "float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}"


# Results


def _finish(
    config: TrainConfig,
    run_dir: Path,
    data: Cifar10,
    model: keras.Model,
    history: checkpoint.History,
) -> dict[str, Any]:
    """Save model and pictures, and evaluate the model as saved: in float32, on the test images."""
    began = time.perf_counter()
    imagenet = models.has_imagenet_preprocessing(model)
    model = models.rebuild(model, config.model, upsample=config.upsample)
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
        "imagenet_weights": imagenet,
        "last_epoch": history[-1],
        "train_images_per_second": _images_per_second(config, data, history),
        # Epochs of all sessions and this evaluation; not what a kill threw away.
        "wall_seconds": round(
            sum(row["seconds"] for row in history) + time.perf_counter() - began, 1
        ),
        **environment.describe(),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _images_per_second(config: TrainConfig, data: Cifar10, history: checkpoint.History) -> float:
    """Speed of the median epoch, so that compiling in the first one doesn't count."""
    training, _ = split_validation(data.train, data.test, config)
    return round(len(training) / statistics.median(row["train_seconds"] for row in history), 1)
