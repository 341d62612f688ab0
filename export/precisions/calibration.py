"""Calibration of int8: the rows drawn for it, and the ranges of the activations.

For models trained here, some of the training images that the training held out are drawn, and the
others judge int8; the test images decide nothing. For models from elsewhere, whose training data
are not known, some rows of the test data are drawn, and the other rows judge.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from export import progress
from export.errors import ExportError
from export.gates import answers
from export.sources.labelled_data import LabelledData
from serving.tensors.signature import Signature
from training.data.cifar10 import Split

IMAGES = 500
SEED = 0
_BATCH_SIZE = 50
_BATCH_ELEMENTS = _BATCH_SIZE * 64 * 64 * 3
_FEWEST = 50  # rows that calibrate, and rows that judge
FEWEST = 2 * _FEWEST
_SHARE = 5  # one of so many rows calibrates
_STEPS = 255  # steps between the 256 values of 8 bits
_PLACES = 512  # sampled values of a tensor for each image
_PARTS = np.geomspace(0.005, 1, 48)  # shares of the full range that are compared

Range = tuple[float, float]


class Calibration(Protocol):
    """Rows that int8 is calibrated with."""

    @property
    def feeds(self) -> Mapping[str, npt.NDArray[Any]]:
        """The rows by tensor name of the graph's inputs."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""


@dataclass(frozen=True, kw_only=True)
class DrawnRows:
    """Rows of test data, drawn without replacement.

    Attributes:
        feeds: The rows by tensor name of the graph's inputs.
        rows: Their indices in the test data, ascending, int64.
        rest: The other indices, ascending, int64.
        seed: Seed of the draw.
    """

    feeds: Mapping[str, npt.NDArray[Any]]
    rows: npt.NDArray[np.int64]
    rest: npt.NDArray[np.int64]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""
        return {
            "images": len(self.rows),
            "drawn_from": f"{len(self.rows) + len(self.rest):,} rows of the test data",
            "seed": self.seed,
            "rows": self.rows.tolist(),
        }


def draw_rows(data: LabelledData, signature: Signature, *, seed: int = SEED) -> DrawnRows:
    """Draw a fifth of the test data for the calibration: at least 50 rows, at most 500.

    Args:
        data: The test data.
        signature: The signature that the data is for.
        seed: Seed of the draw.

    Raises:
        ExportError: there are fewer than 100 rows.
    """
    total = len(data)
    if not is_enough(total):
        msg = (
            f"{data.name} has {total} rows, expected at least {FEWEST} for int8: {_FEWEST} to "
            "calibrate it and as many to judge it; add test data, or leave int8 out of --precision"
        )
        raise ExportError(msg)
    rows, rest = _divide(total, seed)
    feeds = {signature.inputs[alias].tensor: array for alias, array in data.feeds(rows).items()}
    return DrawnRows(feeds=feeds, rows=rows, rest=rest, seed=seed)


def is_enough(total: int) -> bool:
    """Return whether so many rows can both calibrate int8 and judge it."""
    return total >= FEWEST


def positions(total: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw `count` of `total` positions without replacement; all if there are fewer.

    Returns:
        Ascending positions, int64, shape (count,).
    """
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def _divide(total: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the rows that calibrate int8, and of the rows that judge it."""
    rows = positions(total, max(_FEWEST, min(IMAGES, total // _SHARE)), seed)
    return rows, np.setdiff1d(np.arange(total), rows)


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """Images drawn without replacement from those that a training held out.

    Attributes:
        split: The drawn images, in the order of the training set.
        rest: Positions of the other held-out images among all of them, ascending, int64.
        seed: Seed of the draw.
    """

    split: Split
    rest: npt.NDArray[np.int64]
    seed: int

    @property
    def feeds(self) -> Mapping[str, npt.NDArray[Any]]:
        """The images by name of the input."""
        return {"images": self.split.images}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""
        return {
            "images": len(self.split),
            "drawn_from": f"{len(self.split) + len(self.rest):,} held-out training images",
            "seed": self.seed,
            "sha256": self.split.sha256(),
        }


def draw_images(held_out: Split, *, seed: int = SEED) -> DrawnImages:
    """Draw a fifth of the held-out images for the calibration: at least 50, at most 500.

    Args:
        held_out: The training images that the training held out, at least 100; see `is_enough`.
        seed: Seed of the draw.
    """
    drawn, rest = _divide(len(held_out), seed)
    split = Split(images=held_out.images[drawn], labels=held_out.labels[drawn])
    return DrawnImages(split=split, rest=rest, seed=seed)


def ranges(model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Range]:
    """Choose for each float32 tensor the range of values that 8 bits represent.

    In the deep layers of a classifier, the values of one image may be a hundred times as large as
    those of another. With the range from the smallest to the largest value, the few images with
    large values would use the 256 steps, and the values of all others would be rounded to nearly
    nothing. Minimising the mean square error still chooses that range, because those few images
    contribute most to it. But the class of an image hardly changes if all its values shrink by the
    same factor. This function therefore minimises the relative error: the square error of an
    image's values, as a share of their mean square, summed over the images. It compares the full
    range with smaller parts of it, and takes the one with the smallest error.

    (ONNX Runtime's own calibrators offer the full range, entropy, and a percentile of all values.)

    Args:
        model: A float32 graph.
        inputs: Rows for every input, by name, shape (n, ...).

    Returns:
        Smallest and largest value by tensor name; every range includes 0. Tensors that are empty,
        or hold infinity or NaN, have none.
    """
    limits: dict[str, Range] = {}
    samples: dict[str, list[npt.NDArray[np.float32]]] = {}
    unusable = set()
    for name, values in observe(model, inputs):
        if values.size == 0 or not np.isfinite(values).all():
            unusable.add(name)
            continue
        low, high = limits.get(name, (0.0, 0.0))
        limits[name] = (min(low, float(values.min())), max(high, float(values.max())))
        samples.setdefault(name, []).append(_sample(values))
    chosen: dict[str, Range] = {}
    for name, parts in samples.items():
        if name in unusable:
            continue
        progress.count(len(chosen), len(samples), "ranges")
        chosen[name] = _best_part(limits[name], np.concatenate(parts))
    return chosen


def _sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A sample of each image's values, the same positions for all; shape (n, at most _PLACES)."""
    rows = values.reshape(len(values) if values.ndim else 1, -1)
    places = np.random.default_rng(SEED).permutation(rows.shape[1])[:_PLACES]
    return rows[:, np.sort(places)]


def _best_part(limits: Range, values: npt.NDArray[np.float32]) -> Range:
    """The part of a range with the smallest relative error.

    Args:
        limits: The full range; returned unchanged if its width is 0.
        values: Values of n images, shape (n, k).
    """
    low, high = limits
    if low == high:
        return limits
    squares = (values**2).mean(axis=1)
    weights = np.divide(1, squares, out=np.zeros_like(squares), where=squares > 0)
    errors = []
    for part in _PARTS:
        step = part * (high - low) / _STEPS
        zero = np.rint(-part * low / step)
        rounded = (np.clip(np.rint(values / step) + zero, 0, _STEPS) - zero) * step
        errors.append(float(weights @ ((rounded - values) ** 2).mean(axis=1)))
    best = float(_PARTS[int(np.argmin(errors))])
    return best * low, best * high


def observe(
    model: onnx.ModelProto,
    inputs: Mapping[str, npt.NDArray[Any]],
    names: Collection[str] | None = None,
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Run a graph in batches and yield the values of its float32 inputs and inner tensors.

    Args:
        model: Any graph.
        inputs: Rows for every input, by name, shape (n, ...).
        names: Tensors to observe; by default all float32 inputs and tensors that nodes make, as far
            as the types of the latter can be inferred.

    Yields:
        The name of a tensor and its values for one batch of rows.
    """
    copy = onnx.shape_inference.infer_shapes(model)
    graph = copy.graph
    infos = {info.name: info for info in (*graph.value_info, *graph.output)}
    wanted = [
        name
        for node in graph.node
        for name in node.output
        if name in infos
        and infos[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and (names is None or name in names)
    ]
    given = {info.name for info in graph.output}
    graph.output.extend(infos[name] for name in wanted if name not in given)
    session = answers.session(copy.SerializeToString())
    rows = _rows(inputs)
    total = len(next(iter(inputs.values())))
    for start in range(0, total, rows):
        progress.count(start, total, "calibration rows")
        feeds = {name: array[start : start + rows] for name, array in inputs.items()}
        arrays = session.run(wanted, feeds)
        yield from zip(wanted, arrays, strict=True)
        yield from (
            (name, array)
            for name, array in feeds.items()
            if array.dtype == np.float32 and (names is None or name in names)
        )


def _rows(inputs: Mapping[str, npt.NDArray[Any]]) -> int:
    """Rows in a batch: fewer for large rows, because all tensors of a batch are in memory."""
    largest = max(array[:1].size for array in inputs.values())
    return max(1, min(_BATCH_SIZE, _BATCH_ELEMENTS // max(1, largest)))
