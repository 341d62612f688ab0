"""The common interface of the APIs that a model server may offer.

An API encodes images as request bodies before a run and reads classes out of answers after it; a
sender transfers the bytes. The name, dtype and shape of the model's input come from the server's
metadata, so that this module works with any server.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import Header, UsageError

IMAGE_SHAPE = (32, 32, 3)
CLASSES = "classes"
# Names of score outputs in order of preference; any other output of scores is read after these.
SCORE_NAMES = ("probabilities", "logits", "scores", "output_0")
# Error kind of an answer that arrived with status OK but cannot be scored.
BAD_RESPONSE = "BAD_RESPONSE"
# These dtypes hold pixel values of 0 to 255. Pixels are never scaled: the metadata does not tell
# a model that needs scaled pixels from one that scales them itself.
_DTYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True)
class ModelInput:
    """The input tensor of a model.

    Attributes:
        name: Name of the input.
        dtype: NumPy's name of the element type.
        shape: Shape with the batch size first; -1 allows any size; None allows any shape.
    """

    name: str = "images"
    dtype: str = "uint8"
    shape: tuple[int, ...] | None = (-1, *IMAGE_SHAPE)


# Used if the server has no metadata: the input of the bundled classifiers.
DEFAULT_MODEL_INPUT = ModelInput()


class CallError(Exception):
    """A failed call: the server was not reached, returned an error, or its answer is unreadable.

    Attributes:
        kind: gRPC status name, HTTP_<code> or BAD_RESPONSE.
        message: The server's message, or the client library's.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Answer(NamedTuple):
    """A parsed answer.

    Attributes:
        classes: int64, shape (rows,): predicted class of each image.
        version: Version of the model that answered; None if the answer does not name it.
        output: Name of the output from which the classes were read.
    """

    classes: npt.NDArray[np.int64]
    version: int | None
    output: str


@dataclass(frozen=True)
class Api(ABC):
    """One API of a model server, for one model. It is pickled for the generator processes.

    Attributes:
        model: Model name.
        version: Version to request; None for the latest.
        model_input: The input tensor to send images in.
        served_version: The version named by the metadata; None for an API whose answers all name
            the version.
        version_label: Version label to request; None for no label. KServe v2 has no labels.
    """

    model: str
    version: int | None
    model_input: ModelInput = DEFAULT_MODEL_INPUT
    served_version: int | None = None
    version_label: str | None = None

    @property
    @abstractmethod
    def path(self) -> str:
        """Target of the requests: a gRPC method or a URL path."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """HTTP headers of every request; gRPC needs none."""
        return (("content-type", "application/json"),)

    @abstractmethod
    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """Return the request body for images: uint8, shape (n, 32, 32, 3)."""

    @abstractmethod
    def parse(self, response: bytes, rows: int) -> Answer:
        """Parse the answer to a request with `rows` images.

        Raises:
            ValueError: The answer cannot be scored; the message says what was received and
                expected.
        """


def check_input(inputs: Sequence[ModelInput], *, model: str, batch: int) -> ModelInput:
    """Return the single input of a model after checking that test images fit it.

    Args:
        inputs: All inputs of the model, from the server's metadata.
        model: Name of the model, for messages.
        batch: Images in a request.

    Raises:
        UsageError: The model has no input or several, or images do not fit its dtype or shape.
    """
    if len(inputs) != 1:
        names = ", ".join(f'"{known.name}"' for known in inputs) or "none"
        msg = f"model {model!r} has the inputs {names}, expected exactly one, for images"
        raise UsageError(msg)
    (known,) = inputs
    if known.dtype not in _DTYPES:
        msg = (
            f'input "{known.name}" of model {model!r} is {known.dtype}, expected one that holds '
            f"pixels of 0 to 255: {', '.join(_DTYPES)}"
        )
        raise UsageError(msg)
    expected = (batch, *IMAGE_SHAPE)
    if known.shape is not None and (
        len(known.shape) != len(expected)
        or any(size not in (-1, wanted) for size, wanted in zip(known.shape, expected, strict=True))
    ):
        msg = (
            f'input "{known.name}" of model {model!r} has shape {known.shape}, expected one that '
            f"takes {expected}: batch, height, width, channel"
        )
        raise UsageError(msg)
    return known


def read_classes(outputs: Mapping[str, np.ndarray], rows: int) -> tuple[np.ndarray, str]:
    """Return the class of each image and the name of the output it was read from.

    Args:
        outputs: All outputs of an answer, by name.
        rows: Images in the request.

    Returns:
        int64, shape (rows,). An integer output named "classes" is returned as it is. Otherwise the
        class is the index of the highest score in the first float output of shape (rows, n) with
        n > 1; SCORE_NAMES are tried first, then all outputs in alphabetical order.

    Raises:
        ValueError: "classes" has another shape, or no output holds classes or scores.
    """
    classes = outputs.get(CLASSES)
    if classes is not None and classes.dtype.kind in "iu":
        if classes.shape not in {(rows,), (rows, 1)}:
            msg = (
                f'output "{CLASSES}" is {classes.dtype} of shape {classes.shape}, '
                f"expected integers of shape ({rows},)"
            )
            raise ValueError(msg)
        return classes.reshape(rows).astype(np.int64), CLASSES
    for name in (*SCORE_NAMES, *sorted(outputs)):
        scores = outputs.get(name)
        if (
            scores is not None
            and scores.dtype.kind == "f"
            and scores.ndim == 2
            and scores.shape[0] == rows
            and scores.shape[1] > 1
        ):
            return scores.argmax(axis=1).astype(np.int64), name
    received = ", ".join(
        f'"{name}" {array.dtype} of shape {array.shape}' for name, array in sorted(outputs.items())
    )
    msg = (
        f'outputs {received or "none"} received, expected integers "{CLASSES}" of shape ({rows},) '
        f"or scores of shape ({rows}, classes)"
    )
    raise ValueError(msg)
