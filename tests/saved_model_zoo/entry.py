"""A model of the zoo, and how to make questions for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Arrays = dict[str, np.ndarray]
# Inputs by alias, of so many rows.
Make = Callable[[np.random.Generator, int], Arrays]
Way = Literal["onnx", "tensorflow"]

KERAS3 = "Keras 3"
KERAS2 = "Keras 2 (tf-keras)"
APPLICATIONS = "keras.applications"
MODULE = "tf.Module"
TENSORFLOW1 = "TensorFlow 1"
# How TensorFlow itself is asked.
SIGNATURES, SESSION = "signatures", "session"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A SavedModel, and what is expected of it.

    Attributes:
        name: What clients call it.
        what: What it is made of, for the table.
        made_with: One of the names above.
        build: Writes the SavedModel into a folder, or its versions into numbered folders of it.
        questions: Makes inputs, by name of the signature; at least one.
        way: What is to serve it.
        because: Part of the reason that the export gives where it is TensorFlow.
        reference: How TensorFlow is asked: as `tf.saved_model.load` loads the model, or in a
            session, as TensorFlow Serving loads it.
        flags: Further ones of the export.
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
    """Questions for `serving_default` alone."""
    return {"serving_default": make}


def floats(alias: str, *shape: int, scale: float = 1.0, dtype: type = np.float32) -> Make:
    """Normally distributed values of shape (rows, *shape)."""
    return lambda random, rows: {
        alias: (scale * random.standard_normal((rows, *shape))).astype(dtype)
    }


def pictures(alias: str, *shape: int, dtype: type = np.float32) -> Make:
    """Pixels from 0 to 255 of shape (rows, *shape)."""
    return lambda random, rows: {alias: random.integers(0, 256, (rows, *shape)).astype(dtype)}


def steps(alias: str, *shape: int, low: int, high: int) -> Make:
    """Normally distributed values of shape (rows, length, *shape): any length within limits."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        length = int(random.integers(low, high + 1))
        return {alias: random.standard_normal((rows, length, *shape)).astype(np.float32)}

    return make


def tokens(alias: str, high: int, *, low: int = 1, most: int, least: int | None = None) -> Make:
    """Integers of shape (rows, length), some zeros at the end of each row: any length, or one."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        length = int(random.integers(most if least is None else least, most + 1))
        ids = random.integers(low, high, (rows, length)).astype(np.int32)
        kept = random.integers(1, length + 1, (rows, 1))
        return {alias: np.where(np.arange(length) < kept, ids, 0).astype(np.int32)}

    return make


def integers(alias: str, high: int, *shape: int, dtype: type = np.int64, low: int = 0) -> Make:
    """Integers from `low` to below `high` of shape (rows, *shape)."""
    return lambda random, rows: {alias: random.integers(low, high, (rows, *shape)).astype(dtype)}


def words(alias: str, vocabulary: list[str], *shape: int, many: int = 1) -> Make:
    """Strings of shape (rows, *shape), each of one to `many` words of a vocabulary."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        texts = np.empty((rows, *shape), object)
        for place in np.ndindex(texts.shape):
            chosen = random.choice(vocabulary, int(random.integers(1, many + 1)))
            texts[place] = " ".join(chosen).encode()
        return {alias: texts}

    return make


def both(*makes: Make) -> Make:
    """The inputs of several makers together."""
    return lambda random, rows: {
        alias: array for make in makes for alias, array in make(random, rows).items()
    }
