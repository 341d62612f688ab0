"""The answers of the trained models (model.keras) to each test image."""

import logging
from dataclasses import dataclass
from typing import get_args

import keras
import numpy as np
import numpy.typing as npt

from training.data.cifar10 import DataError
from training.data.data_set import DataSet, ImageRows
from training.model import architectures
from training.model.architectures import Interface
from training.model.predictions import logits_of_rows
from training.report.sources.runs import RunRecord
from training.settings.recipes import ConfigError, ModelName

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunAnswers:
    """A run's answers to the test images, in their order.

    Attributes:
        classes: int64, shape (n,).
        probabilities: float64, shape (n,): the probability of the answered class.
        right: bool, shape (n,).
    """

    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]

    def worst(self, count: int) -> npt.NDArray[np.int64]:
        """Return the indices of the wrong answers with the highest probability, highest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probabilities[wrong], kind="stable")][:count]


def architecture(run: RunRecord) -> keras.Model:
    """Return the run's architecture with untrained weights, to count its layers.

    It does not need model.keras.

    Raises:
        ConfigError: This version has no such architecture.
    """
    name = run.settings["model"]
    if name not in get_args(ModelName):
        msg = f"model {name!r} of {run.folder} is unknown, expected one of {get_args(ModelName)}"
        raise ConfigError(msg)
    settings = run.settings
    return architectures.build(
        name,
        upsample=settings.get("upsample", 1),
        stem=settings.get("stem", "imagenet"),
        interface=Interface(
            image_size=settings.get("image_size", 32), classes=len(run.class_names)
        ),
    )


def of_run(run: RunRecord, data: DataSet) -> RunAnswers:
    """Load a run's model.keras and classify the test images.

    Raises:
        DataError: The images are not those that the run was measured on.
        ConfigError: model.keras is missing or cannot be read.
    """
    if data.sha256 != run.data["test_sha256"]:
        msg = (
            f"the test images given ({data.variant}) have SHA-256 {data.sha256[:16]}, but the "
            f"run was measured on {run.data['variant']} {str(run.data['test_sha256'])[:16]}; pass "
            "that data set as --data-dir"
        )
        raise DataError(msg)
    model = architectures.load(run.folder / "model.keras")
    _log.info("classifying %s test images with %s", f"{len(data.test):,}", run.name)
    return score(logits_of_rows(model, data.test), data.test)


def score(logits: npt.NDArray[np.float32], test: ImageRows) -> RunAnswers:
    """Return answers by logits, float32 (n, classes); the softmax is computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    classes = logits.argmax(axis=1)
    return RunAnswers(
        classes=classes,
        # The largest logit is 0 after the shift, so its class has exp(0) of the sum.
        probabilities=1 / np.exp(shifted).sum(axis=1),
        right=classes == test.labels,
    )
