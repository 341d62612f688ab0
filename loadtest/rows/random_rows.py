"""Random rows for any model, drawn by the names, dtypes and shapes of its inputs."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.rows import fitting
from loadtest.rows.dataset import Array, Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import TEXT, ModelInput

# Integers are often indices into a small table; most tables have as many entries.
_INTEGERS_BELOW = 10
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MOST_WORDS, _MOST_LETTERS = 8, 9


@dataclass(frozen=True)
class RandomRows:
    """A Source of random rows: floats of 0 to 1, small integers, all values of uint8, and texts.

    Attributes:
        rows: Number of rows; a model that takes a fixed number in a request gets up to so many
            more, that every request is full.
        seed: Seed of the values.
        shapes: Shape of a row by input, where the metadata leaves it open.
    """

    rows: int
    seed: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def noun(self) -> str:
        """See Source."""
        return "random rows"

    def __len__(self) -> int:
        return self.rows

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source."""
        if inputs is None:
            msg = (
                f"--random needs the inputs of model {model!r}, but the server has no metadata; "
                "pass the rows with --inputs FILE.npz"
            )
            raise UsageError(msg)
        fitting.check_batch(inputs, model=model, batch=batch)
        shapes = dict(self.shapes)
        if unknown := sorted(shapes.keys() - {known.name for known in inputs}):
            names = ", ".join(f'"{known.name}"' for known in inputs)
            msg = f'--input-shape names "{unknown[0]}", but model {model!r} has the inputs {names}'
            raise UsageError(msg)
        rows, notes = -(-self.rows // batch) * batch, []
        if fitting.fixed_batch(inputs) is None:
            rows = self.rows
        arrays = {}
        for known in inputs:
            sizes = _row_shape(known, shapes.get(known.name))
            if known.name not in shapes and -1 in (known.shape or (-1, -1))[1:]:
                notes.append(
                    f'the metadata leaves the shape of input "{known.name}" open: rows of shape '
                    f"{sizes} were sent, --input-shape {known.name}=... sends others"
                )
            full = sizes if known.shape == () else (rows, *sizes)
            arrays[known.name] = _draw(known, full, self._generator(known.name))
        return Dataset(
            inputs=tuple(inputs),
            arrays=arrays,
            rows=rows,
            source=f"random, seed {self.seed}",
            notes=tuple(notes),
        )

    def _generator(self, name: str) -> np.random.Generator:
        # By name, so that the values of an input do not depend on the order of the metadata.
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])


def _row_shape(known: ModelInput, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape of a row: what was asked for, or the metadata's with 1 for open sizes.

    Raises:
        UsageError: What was asked for contradicts the metadata.
    """
    if known.shape is None:
        return asked or ()
    told = known.shape[1:]
    if asked is None:
        return tuple(1 if size == -1 else size for size in told)
    if len(asked) != len(told) or any(
        size not in (-1, wanted) for size, wanted in zip(told, asked, strict=True)
    ):
        msg = f'--input-shape gives input "{known.name}" rows of shape {asked}, expected {told}'
        raise UsageError(msg)
    return asked


def _draw(known: ModelInput, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Return random values of an input's dtype.

    Raises:
        UsageError: The dtype is none of NumPy's.
    """
    if known.dtype == TEXT:
        texts = np.empty(shape, object)
        for place in np.ndindex(shape):
            texts[place] = _text(random)
        return texts
    if known.dtype == "bool":
        return random.random(shape) < 0.5
    if known.dtype == "bfloat16":
        return random.random(shape, np.float32)
    try:
        dtype = np.dtype(known.dtype)
    except TypeError:
        msg = (
            f'input "{known.name}" is {known.dtype}, for which there are no random values; '
            "expected numbers, booleans or texts"
        )
        raise UsageError(msg) from None
    if dtype.kind in "iu":
        below = 256 if dtype == np.uint8 else _INTEGERS_BELOW
        return random.integers(below, size=shape).astype(dtype)
    values: Array = random.random(shape)
    return (values + 1j * random.random(shape) if dtype.kind == "c" else values).astype(dtype)


def _text(random: np.random.Generator) -> bytes:
    """Return one to eight words."""
    words = (
        "".join(_LETTERS[letter] for letter in random.integers(26, size=letters))
        for letters in random.integers(1, _MOST_LETTERS + 1, size=random.integers(1, _MOST_WORDS))
    )
    return " ".join(words).encode()
