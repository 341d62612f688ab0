"""Bodies of keras.applications, with their preprocessing in the graph."""

from typing import Any

import keras

from training.settings.train_config import KERAS_PREFIX, ConfigError

_DROPOUT = 0.2  # before the head, as in Keras' guide to fine-tuning


def features(images: keras.KerasTensor, name: str, side: int, weights: str | None) -> Any:  # noqa: ANN401  a symbolic tensor
    """Return the pooled features of images.

    Args:
        images: uint8 pixels, symbolic, shape (batch, side, side, 3).
        name: "keras:" and the name of a function of keras.applications whose models have their
            preprocessing as layers.
        side: Height and width of the images.
        weights: None for random ones; "imagenet", which Keras downloads; or the path of an .h5 file
            of weights without top.

    Returns:
        float, symbolic, shape (batch, features). With trained weights, batch normalisation uses the
        statistics that it was trained with, as small batches of pictures would spoil them.

    Raises:
        ConfigError: The weights cannot be read or downloaded, or do not fit.
    """
    family = getattr(keras.applications, name.removeprefix(KERAS_PREFIX))
    try:
        body = family(
            include_top=False,
            weights=weights,
            input_shape=(side, side, 3),
            include_preprocessing=True,
            name="body",
        )
    except Exception as error:  # a bare Exception (download), OSError, ValueError, KeyError, ...
        if weights is None:
            raise
        msg = (
            f"could not get weights {weights!r} of {name} ({type(error).__name__}: {error}); pass "
            "--weights none, or the path of its .h5 file without top"
        )
        raise ConfigError(msg) from error
    pixels = keras.layers.Rescaling(1.0, name="pixels")(images)  # 0 to 255 as floats
    maps = body(pixels, training=False) if weights is not None else body(pixels)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    return keras.layers.Dropout(_DROPOUT)(pooled)
