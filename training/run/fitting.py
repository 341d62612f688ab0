"""Trains the epochs of a run: builds the model, restores the last checkpoint, and goes on."""

import contextlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from training.batches.feeding import EpochSetter, TrainingBatches, ValidationBatches, feed
from training.batches.validation_split import split_validation, trim
from training.data.data_set import DataSet, ImageRows
from training.device_loop.averages import SwapAverages
from training.model import (
    architectures,
    averaged_statistics,
    class_weights,
    fast_layers,
    optimizer,
)
from training.model.architectures import Interface
from training.run import checkpoint, early_stopping, tensorboard_logs
from training.run.callbacks import CheckpointSaver, DivergenceStop, EpochRecorder, write_history
from training.run.epoch_speed import SpeedRecord
from training.run.interruption import InterruptBetweenSteps
from training.run.mlflow_run import MlflowRun
from training.run.progress import EpochProgress
from training.run.time_budget import TimeBudget
from training.settings.recipes import TrainConfig

_VALIDATION_BATCH = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a training uses besides its settings.

    Attributes:
        run_dir: The run folder.
        data: The data set.
        devices: Names of the devices that divide each batch.
        on_device: Whether whole epochs are programs on the device, see training.device_loop.
        checkpoint_every: Epochs between two checkpoints.
        budget: The time budget; None if there is none.
        mlflow: The run in MLflow; None if MLflow is not used.
        licence: Licence of the pictures; None if it is not known.
        search: The search that chose the settings, see training.settings.search_record; None if
            there was none.
        speed: Records the speed for a search; None if it is not needed.
    """

    run_dir: Path
    data: DataSet
    devices: list[str]
    on_device: bool
    checkpoint_every: int
    budget: TimeBudget | None
    mlflow: MlflowRun | None
    licence: str | None = None
    search: Mapping[str, Any] | None = None
    speed: SpeedRecord | None = None


@dataclass(frozen=True)
class Trained:
    """The model after its last epoch.

    Attributes:
        model: The model with the weights to save.
        history: One row for each epoch.
        saved_epoch: The epoch, from 1, whose weights `model` has.
        planned_epochs: The number of epochs without early stopping.
        counts: Numbers of training and validation images.
    """

    model: keras.Model
    history: checkpoint.History
    saved_epoch: int
    planned_epochs: int
    counts: dict[str, int]


def fit(config: TrainConfig, session: Session) -> Trained:
    """Train all epochs that are missing, as many as the time budget allows.

    Raises:
        DivergedError: The loss became NaN or infinite.
        StorageError: A file cannot be written.
    """
    budget = session.budget
    if budget is None:
        return _fit(config, session, epochs=config.epochs)
    epochs = budget.epochs
    if epochs is None:
        trained = _fit(config, session, epochs=budget.measured_epochs)
        done = len(trained.history)
        if done == config.epochs or _is_over(config, session, trained.history):
            return replace(trained, planned_epochs=config.epochs)
        epochs = budget.decide(trained.history)
        if epochs == done:
            return trained
        del trained  # frees its memory for the model of the other epochs
    return _fit(_planned(config, epochs), session, epochs=epochs)


def _planned(config: TrainConfig, epochs: int) -> TrainConfig:
    """Return the settings of the plain training with as many epochs as were decided."""
    # Epochs of the warm-up are the same for every number of epochs.
    return replace(config, epochs=epochs) if epochs > config.warmup_epochs else config


def _is_over(config: TrainConfig, session: Session, history: checkpoint.History) -> bool:
    """Return whether early stopping or the time budget ended the training."""
    budget = session.budget
    return early_stopping.is_over(history, config.early_stopping) or (
        budget is not None and budget.is_over(len(history))
    )


def _fit(config: TrainConfig, session: Session, *, epochs: int) -> Trained:
    """Train the epochs that are missing up to number `epochs`.

    The schedule and the averages are those of `config.epochs`.
    """
    share = len(session.devices)
    data = session.data
    training, validation = split_validation(
        data.train, data.test, config, given=data.validation_images
    )
    validation = trim(validation, share)
    model = _compiled_model(
        config, training, used=len(training) // share * share, classes=len(data.class_names)
    )
    checkpoints = session.run_dir / "checkpoints"
    history = checkpoint.restore(checkpoints, model)
    recorder = EpochRecorder(session.run_dir, history)
    history, done = recorder.history, len(history)
    write_history(session.run_dir / "history.csv", history)
    _log.info(
        "%s, recipe %s: epochs %d to %d on %d images, %d for validation; Keras %s on %s%s",
        *(config.model, config.recipe, done + 1, epochs, len(training), len(validation)),
        *(keras.__version__, keras.backend.backend()),
        ", whole epochs on the device" if session.on_device else "",
    )
    saver = CheckpointSaver(
        session.run_dir,
        history,
        every=session.checkpoint_every,
        last=epochs,
        keep_best=config.early_stopping > 0,
    )
    if session.budget:
        share_of_test = len(session.data.test) / max(1, len(validation))
        session.budget.start(saver, evaluation_share=share_of_test)
    if done < epochs and not _is_over(config, session, history):
        progress = EpochProgress(
            epochs=config.epochs, images=len(training), batch_size=config.batch_size
        )
        with contextlib.closing(progress), InterruptBetweenSteps(saver) as interruption:
            callbacks = [*_callbacks(config, session, recorder, saver), progress, interruption]
            with tensorboard_logs.explained(session.run_dir):
                _run_epochs(
                    config,
                    session,
                    model,
                    splits=(training, validation),
                    callbacks=callbacks,
                    epochs=range(done, epochs),
                )
    saved_epoch = len(history)
    if config.early_stopping:
        restored = checkpoint.restore(checkpoints, model, rank=early_stopping.rank)
        saved_epoch = len(restored) or saved_epoch
    if config.ema_span:
        # Copy the averaged weights into the model. `fit` does this too, but it may not have run.
        model.optimizer.finalize_variable_values(model.trainable_variables)
    counts = {"train_images": len(training), "validation_images": len(validation)}
    return Trained(model, history, saved_epoch, epochs, counts)


def _compiled_model(
    config: TrainConfig, training: ImageRows, *, used: int, classes: int
) -> keras.Model:
    """Return the model with its optimizer and loss, for `used` training images an epoch."""
    steps = math.ceil(used / config.batch_size)
    model = architectures.build(
        config.model,
        weights=config.weights,
        upsample=config.upsample,
        stem=config.stem,
        interface=Interface(image_size=config.image_size, classes=classes),
    )
    if optimizer.use_fast_layers(config):
        model = fast_layers.accelerate(model)
    if config.ema_span:
        momentum = optimizer.averaging_momentum(config, steps_per_epoch=steps)
        model = averaged_statistics.average(model, momentum)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=steps, model=model),
        loss=class_weights.loss(
            training.labels,
            classes,
            weighted=config.class_weights,
            label_smoothing=config.label_smoothing,
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=optimizer.jit_compile(config),
    )
    return model


def _run_epochs(
    config: TrainConfig,
    session: Session,
    model: keras.Model,
    *,
    splits: tuple[ImageRows, ImageRows],
    callbacks: list[keras.callbacks.Callback],
    epochs: range,
) -> None:
    """Train epochs, counted from 0, on the device or with Keras' loop."""
    training, validation = splits
    if session.on_device:
        # The module imports JAX.
        from training.device_loop.loop import DeviceLoop  # noqa: PLC0415

        size = _validation_batch(config)
        loop = DeviceLoop(model, training, validation, config, validation_batch=size)
        loop.fit(epochs=epochs.stop, initial_epoch=epochs.start, callbacks=callbacks)
        return
    share = len(session.devices)
    classes = len(session.data.class_names)
    batches = TrainingBatches(training, config, classes=classes, multiple=share)
    size = _validation_batch(config)
    validation_batches = ValidationBatches(
        validation, max(1, size // share) * share, classes=classes
    )
    model.fit(
        feed(batches),
        validation_data=feed(validation_batches),
        epochs=epochs.stop,
        initial_epoch=epochs.start,
        shuffle=False,  # TrainingBatches shuffles, reproducibly
        callbacks=[EpochSetter(batches), *callbacks],
        verbose=0,  # EpochProgress takes the place of Keras' progress bar
    )


def _validation_batch(config: TrainConfig) -> int:
    """Return the images of a step of validation: 500 of CIFAR-10's size, fewer of larger ones."""
    return max(8, _VALIDATION_BATCH * 32 * 32 // config.image_size**2)


def _callbacks(
    config: TrainConfig,
    session: Session,
    recorder: EpochRecorder,
    saver: CheckpointSaver,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks in the order in which they must run: checks before records."""
    callbacks: list[keras.callbacks.Callback] = [DivergenceStop()]
    if config.ema_span:
        # Validation sees the averaged weights; checkpoints keep both sets. Averaged statistics need
        # no swap: their layers always validate with them.
        callbacks.append(_swap_of_averages(session))
    if session.budget:
        callbacks.append(session.budget)
    callbacks.append(recorder)
    if config.early_stopping:
        callbacks.append(early_stopping.EarlyStop(recorder.history, config.early_stopping))
    callbacks.append(saver)
    if session.speed:
        callbacks.append(session.speed)
    if session.mlflow:
        log = session.mlflow.log
        callbacks.append(
            keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: log(recorder.history))
        )
    return [*callbacks, *tensorboard_logs.callbacks(session.run_dir)]


def _swap_of_averages(session: Session) -> keras.callbacks.Callback:
    return SwapAverages() if session.on_device else keras.callbacks.SwapEMAWeights()
