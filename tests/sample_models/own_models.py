"""A user's own Keras classifier of five colours, for pictures of 64 x 64 pixels.

The training takes seconds.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

CLASS_NAMES = ("blue", "green", "grey", "red", "yellow")  # sorted, like the folders
_COLOURS = ((40, 60, 200), (50, 180, 70), (120, 120, 120), (200, 50, 40), (210, 200, 50))
SIZE = 64


def pictures(rows: int, *, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return noisy pictures of one colour each and their classes.

    Returns:
        Pictures, uint8, shape (rows, 64, 64, 3), and class indices, int64, shape (rows,).
    """
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % len(CLASS_NAMES)
    noise = random.integers(-40, 41, (rows, SIZE, SIZE, 3))
    pixels = np.array(_COLOURS)[labels][:, None, None] + noise
    return np.clip(pixels, 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_folder(folder: Path, rows: int, *, seed: int, names: Sequence[str] = CLASS_NAMES) -> Path:
    """Write pictures as PNG files into one folder for each class; return `folder`."""
    pixels, labels = pictures(rows, seed=seed)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        file = folder / names[label] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return folder


def trained(dtype: str = "float32", *, logits: bool = False, channels: int = 32) -> keras.Model:
    """Train a small convolutional net with batch normalisation, depthwise layers and swish."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3), dtype=dtype, name="picture")
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.7)(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.Activation("swish")(layers.BatchNormalization(momentum=0.7)(x))
    x = layers.Conv2D(2 * channels, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(2 * channels, 3, padding="same", activation="hard_swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    ending = {"activation": None if logits else "softmax"}
    model = keras.Model(inputs, layers.Dense(len(CLASS_NAMES), name="answer", **ending)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    )
    pixels, labels = pictures(200, seed=1)
    model.fit(pixels.astype(dtype), labels, batch_size=40, epochs=5, verbose=0)
    return model
