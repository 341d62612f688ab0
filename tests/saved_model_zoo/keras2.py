"""Keras 2 models, saved by `model.save(folder, save_format="tf")` with their optimizers.

The zoo has no Estimator models, because TensorFlow has had no Estimator since 2.16.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from saved_model_zoo.entry import KERAS2, SESSION, Entry, Make, default, floats, steps, tokens

_STEPS, _COLUMNS = 6, 4


def _dense(keras: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((_COLUMNS,), name="x"),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def _functional(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((12, 12, 3), name="x")
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(x))
    y = layers.Add()([layers.ReLU()(y), layers.Conv2D(6, 1)(x)])
    y = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(y)))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


def _lstm(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, _COLUMNS), name="x"),
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
            layers.GRU(4),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _masked(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="x"),
            layers.Embedding(20, 6, mask_zero=True),
            layers.LSTM(5),
            layers.Dense(3, activation="softmax"),
        ]
    )


# By name: model, shape of one row of its input, and optimizer.
_MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], Callable[[Any], Any]]] = {
    "legacy_adam": (_dense, (_COLUMNS,), lambda optimizers: optimizers.legacy.Adam(0.01)),
    "legacy_sgd": (
        _dense,
        (_COLUMNS,),
        lambda optimizers: optimizers.legacy.SGD(0.01, momentum=0.9),
    ),
    "new_adam": (_dense, (_COLUMNS,), lambda optimizers: optimizers.Adam(0.01)),
    "functional": (
        _functional,
        (12, 12, 3),
        lambda optimizers: optimizers.legacy.RMSprop(0.01, momentum=0.5),
    ),
    "recurrent": (_lstm, (_STEPS, _COLUMNS), lambda optimizers: optimizers.legacy.Adagrad(0.01)),
    "masked": (_masked, (_STEPS,), lambda optimizers: optimizers.AdamW(0.01)),
}


def _write(name: str, folder: Path) -> None:
    """Make a model, train it for one step so that the optimizer has slots, and save it."""
    import tf_keras  # noqa: PLC0415 - takes seconds

    tf_keras.utils.set_random_seed(0)
    make, shape, optimizer = _MODELS[name]
    model = make(tf_keras)
    model.compile(optimizer(tf_keras.optimizers), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    rows = random.standard_normal((16, *shape))
    if name == "masked":
        rows = random.integers(0, 20, (16, *shape))
    model.fit(rows, random.integers(0, 3, 16), batch_size=16, epochs=1, verbose=0)
    model.save(folder, save_format="tf")


def _entry(name: str, what: str, make: Make) -> Entry:
    return Entry(
        name=f"keras2_{name}",
        what=what,
        made_with=KERAS2,
        build=lambda folder: _write(name, folder),
        questions=default(make),
        # tf.saved_model.load cannot restore a legacy optimizer without Keras 2; a session can.
        reference=SESSION,
    )


ENTRIES = [
    _entry("legacy_adam", "Dense, legacy Adam with slots", floats("x", _COLUMNS)),
    _entry("legacy_sgd", "Dense, legacy SGD with momentum", floats("x", _COLUMNS)),
    _entry("new_adam", "Dense, Adam", floats("x", _COLUMNS)),
    _entry("functional", "BatchNormalization, legacy RMSprop", floats("x", 12, 12, 3)),
    _entry(
        "recurrent",
        "Bidirectional LSTM, GRU, any length, legacy Adagrad",
        steps("x", _COLUMNS, low=2, high=9),
    ),
    _entry("masked", "mask_zero, LSTM, any length, AdamW", tokens("x", 20, least=3, most=9)),
]
