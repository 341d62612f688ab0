"""Predictions of a trained Keras model, and their evaluation."""

import keras
import numpy as np
import numpy.typing as npt

from training.data.cifar10 import Split
from training.evaluation.accuracy import Evaluation, score


def predict_logits(
    model: keras.Model, images: npt.NDArray[np.uint8], *, batch_size: int = 500
) -> npt.NDArray[np.float32]:
    """Return the logits, float32 (n, 10), of images, uint8 (n, 32, 32, 3)."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def evaluate(model: keras.Model, split: Split) -> Evaluation:
    """Classify every image of a split and score the predictions."""
    return score(predict_logits(model, split.images), split.labels)
