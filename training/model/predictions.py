"""Predictions of a trained Keras model, and their evaluation."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from training.data.cifar10 import CLASS_NAMES
from training.data.data_set import ImageRows
from training.evaluation.accuracy import Evaluation, score

# Pixels that are in memory at a time: CIFAR-10's test images are one call.
_PIXELS_AT_ONCE = 10_000 * 32 * 32


def predict_logits(
    model: keras.Model, images: npt.NDArray[np.uint8], *, batch_size: int = 500
) -> npt.NDArray[np.float32]:
    """Return the logits, float32 (n, classes), of images, uint8 (n, side, side, 3)."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def logits_of_rows(model: keras.Model, rows: ImageRows) -> npt.NDArray[np.float32]:
    """Return the logits, float32 (n, classes), of images that may be in a file."""
    step = max(1, _PIXELS_AT_ONCE // rows.side**2)
    # Maps of large images take much memory.
    size = min(500, max(8, 500 * 32 * 32 // rows.side**2))
    parts = [
        predict_logits(model, rows.take(slice(start, start + step)), batch_size=size)
        for start in range(0, len(rows), step)
    ]
    return np.concatenate(parts)


def evaluate(
    model: keras.Model, rows: ImageRows, class_names: Sequence[str] = CLASS_NAMES
) -> Evaluation:
    """Classify every image and score the predictions.

    Args:
        model: Maps images to logits.
        rows: The images.
        class_names: Names of the classes in the order of the logits.
    """
    return score(logits_of_rows(model, rows), rows.labels, class_names=class_names)
