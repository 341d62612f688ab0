"""The common interface of the APIs that a model server may offer.

An API encodes rows as request bodies before a run and reads outputs and classes out of answers
after it; a sender transfers the bytes. Names, dtypes and shapes of the model's inputs come from the
server's metadata, so that this module works with any server and any model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadtest.settings.config import Header, UsageError
from serving.tensors import bfloat16
from serving.tensors.signature import DataType

IMAGE_SHAPE = (32, 32, 3)
CLASSES = "classes"
# Names of score outputs in order of preference; any other output of scores is read after these.
SCORE_NAMES = ("probabilities", "logits", "scores", "output_0")
# Those of them that no other model has: "output_0" is also Keras' name of any single output.
_CLASSIFIERS = SCORE_NAMES[:3]
# Error kind of an answer that arrived with status OK but cannot be scored.
BAD_RESPONSE = "BAD_RESPONSE"
# The end of messages about models that do not take test images.
_OTHER_ROWS = "; --random and --inputs send rows for any model"
# The dtype of texts; NumPy has none for them.
TEXT = "string"
# These dtypes hold pixel values of 0 to 255. Pixels are never scaled: the metadata does not tell
# a model that needs scaled pixels from one that scales them itself.
PIXEL_DTYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True)
class ModelInput:
    """An input tensor of a model.

    Attributes:
        name: Name of the input.
        dtype: NumPy's name of the element type; TEXT for texts, "bfloat16" for that type.
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
        classes: int64, shape (rows,): predicted class of each row; -1 if classes are not read.
        version: Version of the model that answered; None if the answer does not name it.
        output: Name of the output from which the classes were read; the names of all outputs if
            classes are not read.
        outputs: All outputs by name; bfloat16 is converted to float32.
    """

    classes: npt.NDArray[np.int64]
    version: int | None
    output: str
    outputs: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Api(ABC):
    """One API of a model server, for one model. It is pickled for the generator processes.

    Attributes:
        model: Model name.
        version: Version to request; None for the latest.
        inputs: The input tensors of the model; None if the server has no metadata.
        served_version: The version named by the metadata; None for an API whose answers all name
            the version.
        version_label: Version label to request; None for no label. KServe v2 has no labels.
        reads_classes: Whether an answer must hold classes or scores.
    """

    model: str
    version: int | None
    inputs: tuple[ModelInput, ...] | None = None
    served_version: int | None = None
    version_label: str | None = None
    reads_classes: bool = True

    @property
    @abstractmethod
    def path(self) -> str:
        """Target of the requests: a gRPC method or a URL path."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """HTTP headers of every request; gRPC needs none."""
        return (("content-type", "application/json"),)

    def payload(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Return the request body for some rows.

        Args:
            arrays: An array for each input, by its name; texts are `bytes` in dtype object.

        Raises:
            UsageError: The API cannot carry one of the dtypes.
        """
        return self.encode({name: self._typed(name, array) for name, array in arrays.items()})

    def parse(self, response: bytes, rows: int) -> Answer:
        """Parse the answer to a request with `rows` rows.

        Raises:
            ValueError: The answer cannot be scored; the message says what was received and
                expected.
        """
        outputs, version = self.decode(response)
        plain = {name: bfloat16.to_floats(array) for name, array in outputs.items()}
        if not self.reads_classes:
            return Answer(np.full(rows, -1), version, ", ".join(sorted(plain)), plain)
        classes, output = read_classes(plain, rows)
        return Answer(classes, version, output, plain)

    @abstractmethod
    def encode(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Return the request body for arrays in the dtypes of the model's inputs.

        Raises:
            UsageError: The API cannot carry one of the dtypes.
        """

    @abstractmethod
    def decode(self, response: bytes) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
        """Return the outputs of an answer by name, and the version that it names, if any.

        Raises:
            ValueError: The answer cannot be read.
        """

    def _typed(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array in the dtype of an input."""
        known = next((one for one in self.inputs or () if one.name == name), None)
        if known is None or known.dtype == TEXT:
            return array
        if known.dtype == "bfloat16":
            return bfloat16.from_floats(array)
        return array.astype(known.dtype, copy=False)


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
        msg = (
            f"model {model!r} has the inputs {names}, expected exactly one, for images{_OTHER_ROWS}"
        )
        raise UsageError(msg)
    (known,) = inputs
    if known.dtype not in PIXEL_DTYPES:
        msg = (
            f'input "{known.name}" of model {model!r} is {known.dtype}, expected one that holds '
            f"pixels of 0 to 255: {', '.join(PIXEL_DTYPES)}{_OTHER_ROWS}"
        )
        raise UsageError(msg)
    expected = (batch, *IMAGE_SHAPE)
    if known.shape is not None and (
        len(known.shape) != len(expected)
        or any(size not in (-1, wanted) for size, wanted in zip(known.shape, expected, strict=True))
    ):
        msg = (
            f'input "{known.name}" of model {model!r} has shape {known.shape}, expected one that '
            f"takes {expected}: batch, height, width, channel{_OTHER_ROWS}"
        )
        raise UsageError(msg)
    return known


def has_classes(outputs: Mapping[str, np.ndarray], rows: int) -> bool:
    """Return whether outputs are those of a classifier, as far as names and values tell.

    They are if there is an integer output "classes", or one of scores whose name says so, or one
    whose rows are probabilities: not negative, with the sum 1.

    Args:
        outputs: All outputs of an answer, by name.
        rows: Rows in the request.
    """
    classes = outputs.get(CLASSES)
    if classes is not None and classes.dtype.kind in "iu":
        return classes.shape in {(rows,), (rows, 1)}
    return any(
        name in _CLASSIFIERS or bool((array >= 0).all() and np.allclose(array.sum(1), 1, atol=0.01))
        for name, array in outputs.items()
        if _are_scores(array, rows)
    )


def _are_scores(array: np.ndarray, rows: int) -> bool:
    """Return whether an output has the form of scores: floats of shape (rows, n), n > 1."""
    shape = array.shape
    return array.dtype.kind == "f" and len(shape) == 2 and shape[0] == rows and shape[1] > 1


def dtype_name(data_type: DataType) -> str:
    """Return NumPy's name of an element type, or the name of one that NumPy does not have."""
    names = {DataType.DT_STRING: TEXT, DataType.DT_BFLOAT16: "bfloat16"}
    return names.get(data_type) or str(data_type.numpy.name)


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
        if scores is not None and _are_scores(scores, rows):
            return scores.argmax(axis=1).astype(np.int64), name
    received = ", ".join(
        f'"{name}" {array.dtype} of shape {array.shape}' for name, array in sorted(outputs.items())
    )
    msg = (
        f'outputs {received or "none"} received, expected integers "{CLASSES}" of shape ({rows},) '
        f"or scores of shape ({rows}, classes); rows without labels need neither (--random, "
        "--inputs)"
    )
    raise ValueError(msg)
