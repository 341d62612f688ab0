"""What the APIs that a model server may speak have in common.

An API makes request bodies of images before a run and reads classes out of answers after it; how
the bytes travel is a sender's business. It learns from the server's own metadata what the model
takes, so nothing here depends on one particular server.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import UsageError

IMAGE_SHAPE = (32, 32, 3)
CLASSES = "classes"
# Scores that say which class it is, best first; any other output of scores will do as well.
SCORE_NAMES = ("probabilities", "logits", "scores", "output_0")
# The kind of an error that is no status: an answer came, but not one that can be scored.
BAD_RESPONSE = "BAD_RESPONSE"
# Pixels of 0 to 255 fit into these as they are. Nothing is scaled: a model that wants other values
# cannot be told from one that scales by itself.
_DTYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True)
class ModelInput:
    """What images are sent as.

    Attributes:
        name: Name of the input.
        dtype: NumPy's name of the element type.
        shape: With the batch first, -1 where any size will do; None: any shape.
    """

    name: str = "images"
    dtype: str = "uint8"
    shape: tuple[int, ...] | None = (-1, *IMAGE_SHAPE)


# For servers without metadata: the bundled classifiers' input.
DEFAULT_MODEL_INPUT = ModelInput()


class CallError(Exception):
    """A call failed: the server was not reached, refused it, or gave an answer nobody can score.

    Attributes:
        kind: gRPC status name, HTTP_<code> or BAD_RESPONSE.
        message: The server's own words.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Answer(NamedTuple):
    """What an answer says.

    Attributes:
        classes: int64, shape (rows,).
        version: Version of the model that answered; None: the server did not say.
        output: Name of the output that was read.
    """

    classes: npt.NDArray[np.int64]
    version: int | None
    output: str


@dataclass(frozen=True)
class Api(ABC):
    """One API of a model server, for one model. Picklable: generator processes get a copy.

    Attributes:
        model: Model name.
        version: Version to ask for; None: the latest.
        model_input: What images are sent as.
        served_version: The version that the metadata named; None for an API whose every answer
            names its version.
    """

    model: str
    version: int | None
    model_input: ModelInput = DEFAULT_MODEL_INPUT
    served_version: int | None = None

    @property
    @abstractmethod
    def path(self) -> str:
        """Where requests go: gRPC method or URL path."""

    @abstractmethod
    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """The body of a request for images, uint8 (n, 32, 32, 3)."""

    @abstractmethod
    def parse(self, response: bytes, rows: int) -> Answer:
        """What an answer for so many images says.

        Raises:
            ValueError: It cannot be scored; says what was received and expected.
        """


def check_input(inputs: Sequence[ModelInput], *, model: str, batch: int) -> ModelInput:
    """The one input of a model, if test images fit it.

    Args:
        inputs: All of them, as the server's metadata has them.
        model: The model's name, for messages.
        batch: Images a request.

    Raises:
        UsageError: There are several, or images fit neither its dtype nor its shape.
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
    """The class of each image and the output that says so.

    Args:
        outputs: All outputs of an answer.
        rows: Images in the request.

    Returns:
        int64, shape (rows,), from integers called "classes", else the index of the highest score
        in the first of SCORE_NAMES, or of any floats of shape (rows, n), by name.

    Raises:
        ValueError: No output says it.
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
