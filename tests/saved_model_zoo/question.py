"""Questions for a model, TensorFlow's answers to them, and the comparison of answers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from saved_model_zoo.entry import SESSION, Arrays, Entry

# Largest difference of two floats, in units of the range of the output.
LIMIT = 1e-5


class Question(NamedTuple):
    """The inputs of one request to a signature of a version."""

    version: int
    signature: str
    inputs: Arrays


def questions(entry: Entry, versions: Sequence[int], rows: Sequence[int]) -> list[Question]:
    """Return a question for each version, signature and number of rows, with random values."""
    random = np.random.default_rng(len(rows))
    return [
        Question(version, signature, make(random, number))
        for version in versions
        for signature, make in entry.questions.items()
        for number in rows
    ]


def ask_tensorflow(
    entry: Entry, folders: Mapping[int, Path], asked: Sequence[Question]
) -> list[Arrays]:
    """Return TensorFlow's answers to the questions, run one by one.

    Args:
        entry: The model; its `reference` says how TensorFlow runs it.
        folders: Folders of the SavedModels by version.
        asked: Questions, grouped by version.
    """
    ask = _in_session if entry.reference == SESSION else _by_signatures
    return [
        answer
        for version, group in itertools.groupby(asked, lambda question: question.version)
        for answer in ask(folders[version], group)
    ]


def _by_signatures(folder: Path, asked: Iterator[Question]) -> Iterator[Arrays]:
    loaded = tf.saved_model.load(str(folder))
    for _, signature, inputs in asked:
        tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
        answer = loaded.signatures[signature](**tensors)
        yield {alias: tensor.numpy() for alias, tensor in answer.items()}


def _in_session(folder: Path, asked: Iterator[Question]) -> Iterator[Arrays]:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        definitions = v1.saved_model.load(session, ["serve"], str(folder)).signature_def
        for _, signature, inputs in asked:
            definition = definitions[signature]
            feeds = {
                info.name: inputs[alias]
                if alias in inputs
                else tf.make_ndarray(definition.defaults[alias])
                for alias, info in definition.inputs.items()
            }
            fetches = {alias: info.name for alias, info in definition.outputs.items()}
            answer = session.run(fetches, feeds)
            yield {alias: np.asarray(array) for alias, array in answer.items()}


def ranges(asked: Sequence[Question], expected: Sequence[Arrays]) -> dict[tuple[str, str], float]:
    """Return the range of each float output over TensorFlow's answers, by signature and alias.

    The range is the largest minus the smallest finite value; for a constant output, its magnitude.
    """
    values: dict[tuple[str, str], list[np.ndarray]] = {}
    for question, answer in zip(asked, expected, strict=True):
        for alias, array in answer.items():
            if array.dtype.kind == "f":
                finite = array[np.isfinite(array)].astype(np.float64)
                values.setdefault((question.signature, alias), []).append(finite)
    found = {}
    for key, arrays in values.items():
        together = np.concatenate(arrays)
        if not together.size:
            together = np.ones(1)
        found[key] = float(np.ptp(together) or np.abs(together).max() or 1.0)
    return found


def difference(expected: np.ndarray, received: np.ndarray, span: float) -> tuple[str, float | None]:
    """Compare an output of the server with TensorFlow's.

    Args:
        expected: TensorFlow's output.
        received: The server's output.
        span: Range of the output; used for floats only.

    Returns:
        The fault, or "" if there is none, and for floats the largest difference in units of the
        range, else None.
    """
    if (expected.shape, expected.dtype.kind) != (received.shape, received.dtype.kind):
        told = f"{received.dtype}{received.shape}, expected {expected.dtype}{expected.shape}"
        return told, None
    if expected.dtype != received.dtype and expected.dtype.kind != "O":
        return f"{received.dtype}, expected {expected.dtype}", None
    if expected.dtype.kind != "f":
        same = expected.tolist() == received.tolist()
        return "" if same else f"{received.tolist()}, expected {expected.tolist()}"[:500], None
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], received[~finite], equal_nan=True):
        return "other values that are not finite", None
    delta = np.abs(received[finite].astype(np.float64) - expected[finite].astype(np.float64))
    share = float(delta.max(initial=0.0)) / span
    if not share <= LIMIT:
        return f"off by {share:.2g} of the range {span:.3g}, at most {LIMIT:g} expected", share
    return "", share
