"""Keras 3 models of pictures and volumes."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from saved_model_zoo.entry import KERAS3, Entry, default, floats, pictures
from saved_model_zoo.keras3 import entry, sequential, shake


def _cnn() -> keras.Model:
    return sequential(
        (16, 16, 3),
        layers.Rescaling(1 / 127.5, -1),
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Dropout(0.5),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        layers.SpatialDropout2D(0.3),
        layers.GaussianNoise(0.3),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5, activation="softmax"),
        dtype="uint8",
    )


def _augmented(folder: Path) -> None:
    """Write a model with an endpoint for training=False.

    Keras' guide recommends this for layers that draw random numbers.
    """
    keras.utils.set_random_seed(0)
    model = sequential(
        (16, 16, 3),
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomContrast(0.1),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalMaxPooling2D(),
        layers.Dense(5, activation="softmax"),
    )
    shake(model)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda x: model.call(x, training=False),
        input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, name="x")],
    )
    archive.write_out(folder, verbose=False)


def _segmentation() -> keras.Model:
    x = keras.Input((16, 16, 3), name="x")
    first = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    down = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(first)
    below = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(down)
    up = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(below)
    up = layers.Concatenate()([up, down])
    up = layers.UpSampling2D(interpolation="bilinear")(up)
    up = layers.Concatenate()([layers.UpSampling2D(4)(below), up, first])
    return keras.Model(x, layers.Conv2D(2, 1, activation="softmax")(up))


def _separable() -> keras.Model:
    return sequential(
        (None, None, 3),
        layers.ZeroPadding2D(1),
        layers.SeparableConv2D(8, 3, padding="same", activation="relu6"),
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2),
        layers.GroupNormalization(4),
        layers.LayerNormalization(),
        layers.Conv2D(4, 3, groups=2, dilation_rate=2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    )


def _preprocessed() -> keras.Model:
    return sequential(
        (20, 24, 3),
        layers.Resizing(16, 16),
        layers.CenterCrop(12, 12),
        layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 3100.0, 3200.0]),
        layers.Conv2D(4, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(3),
        dtype="uint8",
    )


def _volume() -> keras.Model:
    return sequential(
        (6, 8, 8, 2),
        layers.Conv3D(4, 3, padding="same", activation="relu"),
        layers.MaxPooling3D((1, 2, 2)),
        layers.Conv3DTranspose(4, 2, strides=2),
        layers.GlobalAveragePooling3D(),
        layers.Dense(3),
    )


def _frames() -> keras.Model:
    return sequential(
        (4, 8, 8, 2),
        layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
        layers.ConvLSTM2D(3, 3, padding="same"),
        layers.Flatten(),
        layers.Dense(2),
    )


ENTRIES = [
    entry(
        "cnn",
        "Conv2D, BatchNormalization, Dropout, uint8",
        _cnn,
        pictures("x", 16, 16, 3, dtype=np.uint8),
    ),
    Entry(
        name="augmented",
        what="RandomFlip, RandomRotation, RandomZoom, training=False",
        made_with=KERAS3,
        build=_augmented,
        questions=default(floats("x", 16, 16, 3)),
    ),
    entry("segmentation", "Conv2DTranspose, UpSampling2D", _segmentation, floats("x", 16, 16, 3)),
    entry(
        "separable",
        "SeparableConv2D, GroupNormalization, any size",
        _separable,
        floats("x", 14, 18, 3),
    ),
    entry(
        "preprocessed",
        "Resizing, CenterCrop, Normalization",
        _preprocessed,
        pictures("x", 20, 24, 3, dtype=np.uint8),
    ),
    entry("volume", "Conv3D, Conv3DTranspose", _volume, floats("x", 6, 8, 8, 2)),
    entry("frames", "TimeDistributed, ConvLSTM2D", _frames, floats("x", 4, 8, 8, 2)),
]
