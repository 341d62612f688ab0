"""Trainings with the JAX backend, compared in one process: `python jax_checks.py RESULTS.json`.

Keras chooses its backend when it is imported, and importing it takes seconds, so the tests of this
folder read the results of one process.
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
# Most of the time goes into compiling; fast code is not needed here.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import keras
import numpy as np
from keras import layers

from training.batches.feeding import EpochSetter, TrainingBatches, ValidationBatches
from training.data.cifar10 import Split
from training.device_loop import loop
from training.device_loop.averages import SwapAverages
from training.model import averaged_statistics, optimizer
from training.run.callbacks import DivergedError, DivergenceStop
from training.settings.recipes import from_recipe

EPOCHS, COUNT = 2, 100
VARIANTS = {
    # Three steps of 32 images and one of 4.
    "averaged": {
        "batch_size": 32,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "ema_span": 0.3,
        "mixup": 0.5,
    },
    # Five steps, so that an update has gradients of two epochs.
    "accumulated": {
        "batch_size": 20,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "accumulate_steps": 2,
        "clip_norm": 0.5,
        "weight_decay": 0.005,
        "ema_span": 0.5,
    },
    "float16": {"batch_size": 50, "optimizer": "adam", "mixed_precision": "float16"},
}


def make_split(count, seed):
    """Return noise images whose mean tells the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    noise = random.integers(0, 128, (count, 32, 32, 3))
    images = noise + 12 * labels[:, None, None, None]
    return Split(images=images.astype(np.uint8), labels=labels)


TRAINING, VALIDATION = make_split(COUNT, 0), make_split(30, 1)


def make_config(**changes):
    settings = {"epochs": 4, "warmup_epochs": 1, "label_smoothing": 0.05, "ema_span": 0.0}
    return from_recipe("simcnn", "best", **settings | {"cutout": 8} | changes)


def steps_of(config):
    return math.ceil(COUNT / config.batch_size)


def validation_batch(config):
    """Return the size of validation batches: the last one is smaller in one variant only."""
    return 16 if COUNT % config.batch_size else 30


def make_model(config):
    """Return a compiled model with everything that has state: normalisation, dropout, penalty."""
    keras.utils.set_random_seed(0)
    policy = "float32" if config.mixed_precision == "none" else f"mixed_{config.mixed_precision}"
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            # Without a bias, which the normalisation would remove: every weight moves.
            layers.Conv2D(
                4, 3, strides=4, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01)
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(10, dtype="float32"),
        ]
    )
    if config.ema_span:
        momentum = optimizer.averaging_momentum(config, steps_per_epoch=steps_of(config))
        model = averaged_statistics.average(model, momentum)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=steps_of(config)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        # So large a loss overflows with the first loss scale of float16.
        loss_weights=50.0 if config.mixed_precision == "float16" else None,
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    keras.config.set_dtype_policy("float32")
    return model


class Recorder(keras.callbacks.Callback):
    """Records the figures of epochs, and the steps after which it was called."""

    def __init__(self):
        super().__init__()
        self.epochs, self.steps, self.order = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        """Record the step."""
        self.steps.append(batch)
        self.order.append("train")

    def on_test_batch_end(self, batch, logs=None):
        """Record the call."""
        self.order.append("test")

    def on_epoch_end(self, epoch, logs=None):
        """Record the epoch with the learning rate."""
        rate = float(self.model.optimizer.learning_rate)
        self.epochs.append({"epoch": epoch, "rate": rate, **logs})
        self.order.append("epoch")


def callbacks_of(config, swap):
    recorder = Recorder()
    averages = [swap()] if config.ema_span else []
    return [DivergenceStop(), *averages, recorder], recorder


def state(model):
    """Return all variables of the model, its optimizer and its metrics as one vector."""
    variables = [*model.variables, *model.optimizer.variables]
    return np.concatenate([np.asarray(v.numpy(), np.float64).ravel() for v in variables])


def with_keras(config):
    model, batches = make_model(config), TrainingBatches(TRAINING, config)
    callbacks, recorder = callbacks_of(config, keras.callbacks.SwapEMAWeights)
    model.fit(
        batches,
        validation_data=ValidationBatches(VALIDATION, validation_batch(config)),
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[EpochSetter(batches), *callbacks],
    )
    return model, recorder


def on_device(config):
    model = make_model(config)
    callbacks, recorder = callbacks_of(config, SwapAverages)
    device = loop.DeviceLoop(
        model, TRAINING, VALIDATION, config, validation_batch=validation_batch(config)
    )
    device.fit(epochs=EPOCHS, initial_epoch=0, callbacks=callbacks)
    if config.ema_span:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return model, recorder


def compare(config):
    (one, kerass), (other, devices) = with_keras(config), on_device(config)
    weights = zip(other.trainable_variables, make_model(config).trainable_variables, strict=True)
    moved = min(float(np.abs(w.numpy() - start.numpy()).max()) for w, start in weights)
    return {
        "keras": kerass.epochs,
        "device": devices.epochs,
        "order": devices.order,
        "steps": devices.steps,
        "state": state(other).tolist(),
        "difference": float(np.abs(state(one) - state(other)).max()),
        "moved": moved,
        "loss_scale": float(getattr(other.optimizer, "dynamic_scale", 0.0)),
    }


def diverge():
    """Return the error of a training that diverges."""
    config = make_config(
        batch_size=20, optimizer="sgd", learning_rate=1e30, schedule="constant", warmup_epochs=0
    )
    try:
        on_device(config)
    except DivergedError as error:
        return str(error)
    return "no error"


def main():
    # As few calls of the program as possible; at the end one for each step.
    loop._SECONDS_OF_A_CALL = 1000.0
    results = {name: compare(make_config(**changes)) for name, changes in VARIANTS.items()}
    results["diverged"] = diverge()
    loop._SECONDS_OF_A_CALL = 0.0
    model, recorder = on_device(make_config(**VARIANTS["averaged"]))
    results["single"] = {"steps": recorder.steps, "state": state(model).tolist()}
    Path(sys.argv[1]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
