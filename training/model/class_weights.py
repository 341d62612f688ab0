"""The loss of a training, in which every class may count alike however many images it has."""

import keras
import numpy as np
import numpy.typing as npt


class WeightedCrossEntropy(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]
    """Cross-entropy from logits; an image counts by the weight of its class.

    An image that mixup made has the mixture of the weights of its two classes.

    Args:
        weights: float32, shape (classes,).
        label_smoothing: Share of the target spread over all classes.
    """

    def __init__(self, weights: npt.NDArray[np.float32], *, label_smoothing: float) -> None:
        super().__init__(from_logits=True, label_smoothing=label_smoothing)
        self._weights = weights

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each image, shape (batch,)."""
        own = keras.ops.sum(keras.ops.cast(y_true, "float32") * self._weights, axis=-1)
        return own * super().call(y_true, y_pred)


def balancing(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Return weights with which all classes have the same sum, and whose mean over images is 1.

    Args:
        labels: int64, shape (n,): labels of the training images.
        classes: Number of classes; one without images has the weight 0.

    Returns:
        float32, shape (classes,): n / (classes with images x images of the class).
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.where(counts, len(labels) / (present * np.maximum(counts, 1)), 0)
    return weights.astype(np.float32)


def loss(
    labels: npt.NDArray[np.int64], classes: int, *, weighted: bool, label_smoothing: float
) -> keras.losses.Loss:
    """Return the loss of a training on images with these labels."""
    if not weighted:
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )
    return WeightedCrossEntropy(balancing(labels, classes), label_smoothing=label_smoothing)
