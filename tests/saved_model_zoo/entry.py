"""An entry of the zoo, and functions that make inputs for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Arrays = dict[str, np.ndarray]
# Makes inputs by alias with the given number of rows.
Make = Callable[[np.random.Generator, int], Arrays]
Way = Literal["onnx", "tensorflow"]

KERAS3 = "Keras 3"
KERAS2 = "Keras 2 (tf-keras)"
APPLICATIONS = "keras.applications"
MODULE = "tf.Module"
TENSORFLOW1 = "TensorFlow 1"
# The two ways to run a SavedModel in TensorFlow.
SIGNATURES, SESSION = "signatures", "session"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A SavedModel and the expected way to serve it.

    Attributes:
        name: Name of the model on the server.
        what: What the model consists of, for the table.
        made_with: KERAS3, KERAS2, APPLICATIONS, MODULE or TENSORFLOW1.
        build: Writes the SavedModel into a folder, or its versions into numbered subfolders.
        questions: Functions that make inputs, by signature name; at least one.
        way: The runtime that is expected to serve the model.
        because: If way is "tensorflow", a part of the reason that the export must give.
        reference: How TensorFlow runs the model for comparison: loaded by `tf.saved_model.load`,
            or in a session, as TensorFlow Serving loads it.
        flags: Further flags of the export command.
    """

    name: str
    what: str
    made_with: str
    build: Callable[[Path], object]
    questions: Mapping[str, Make]
    way: Way = "onnx"
    because: str = ""
    reference: str = SIGNATURES
    flags: tuple[str, ...] = ()


def default(make: Make) -> dict[str, Make]:
    """Return the questions of a model whose only signature is `serving_default`."""
    return {"serving_default": make}


def floats(alias: str, *shape: int, scale: float = 1.0, dtype: type = np.float32) -> Make:
    """Return a maker of normally distributed values of shape (rows, *shape)."""
    return lambda random, rows: {
        alias: (scale * random.standard_normal((rows, *shape))).astype(dtype)
    }


def pictures(alias: str, *shape: int, dtype: type = np.float32) -> Make:
    """Return a maker of pixels from 0 to 255 of shape (rows, *shape)."""
    return lambda random, rows: {alias: random.integers(0, 256, (rows, *shape)).astype(dtype)}


def steps(alias: str, *shape: int, low: int, high: int) -> Make:
    """Return a maker of normally distributed values of shape (rows, length, *shape).

    The length is random from `low` to `high`.
    """

    def make(random: np.random.Generator, rows: int) -> Arrays:
        length = int(random.integers(low, high + 1))
        return {alias: random.standard_normal((rows, length, *shape)).astype(np.float32)}

    return make


def tokens(alias: str, high: int, *, low: int = 1, most: int, least: int | None = None) -> Make:
    """Return a maker of int32 tokens of shape (rows, length), padded with zeros at the end.

    The length is random from `least` to `most`, or `most` if `least` is None.
    """

    def make(random: np.random.Generator, rows: int) -> Arrays:
        length = int(random.integers(most if least is None else least, most + 1))
        ids = random.integers(low, high, (rows, length)).astype(np.int32)
        kept = random.integers(1, length + 1, (rows, 1))
        return {alias: np.where(np.arange(length) < kept, ids, 0).astype(np.int32)}

    return make


def integers(alias: str, high: int, *shape: int, dtype: type = np.int64, low: int = 0) -> Make:
    """Return a maker of integers from `low` to below `high` of shape (rows, *shape)."""
    return lambda random, rows: {alias: random.integers(low, high, (rows, *shape)).astype(dtype)}


def words(alias: str, vocabulary: list[str], *shape: int, many: int = 1) -> Make:
    """Return a maker of strings of shape (rows, *shape), each one to `many` words."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        texts = np.empty((rows, *shape), object)
        for place in np.ndindex(texts.shape):
            chosen = random.choice(vocabulary, int(random.integers(1, many + 1)))
            texts[place] = " ".join(chosen).encode()
        return {alias: texts}

    return make


def both(*makes: Make) -> Make:
    """Return a maker of the inputs of all makers."""
    return lambda random, rows: {
        alias: array for make in makes for alias, array in make(random, rows).items()
    }
