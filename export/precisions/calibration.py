"""Calibration of int8: the training images drawn for it, and the ranges of the activations.

Only training images are used: ranges chosen from test images would make the accuracy on the test
images look better than it is.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export import progress
from export.gates import answers
from training.data.cifar10 import Split

IMAGES = 500
SEED = 0
_BATCH_SIZE = 50
_STEPS = 255  # steps between the 256 values of 8 bits
_PLACES = 512  # sampled values of a tensor for each image
_PARTS = np.geomspace(0.005, 1, 48)  # shares of the full range that are compared

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Training images drawn without replacement.

    Attributes:
        split: The drawn images, in the order of the training set.
        drawn_from: Number of training images.
        seed: Seed of the draw.
    """

    split: Split
    drawn_from: int
    seed: int

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """uint8, shape (n, 32, 32, 3)."""
        return self.split.images

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json."""
        return {
            "images": len(self.split),
            "drawn_from": f"{self.drawn_from:,} training images",
            "seed": self.seed,
            "sha256": self.split.sha256(),
        }


def draw(training: Split, *, count: int = IMAGES, seed: int = SEED) -> Calibration:
    """Draw calibration images.

    Args:
        training: All training images.
        count: Number of images to draw; all are drawn if there are fewer.
        seed: Seed of the draw.
    """
    total = len(training)
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:count])
    split = Split(images=training.images[chosen], labels=training.labels[chosen])
    return Calibration(split=split, drawn_from=total, seed=seed)


def ranges(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> dict[str, Range]:
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
        model: A float32 graph with input `images`.
        images: uint8, shape (n, 32, 32, 3).

    Returns:
        Smallest and largest value by tensor name; every range includes 0.
    """
    limits: dict[str, Range] = {}
    samples: dict[str, list[npt.NDArray[np.float32]]] = {}
    for name, values in observe(model, images):
        low, high = limits.get(name, (0.0, 0.0))
        limits[name] = (min(low, float(values.min())), max(high, float(values.max())))
        samples.setdefault(name, []).append(_sample(values))
    chosen: dict[str, Range] = {}
    for name, parts in samples.items():
        progress.count(len(chosen), len(samples), "ranges")
        chosen[name] = _best_part(limits[name], np.concatenate(parts))
    return chosen


def _sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A sample of each image's values, the same positions for all; shape (n, at most _PLACES)."""
    rows = values.reshape(len(values), -1)
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
    images: npt.NDArray[np.uint8],
    names: Collection[str] | None = None,
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Run a graph in batches and yield the values of its inner tensors.

    Args:
        model: A graph with input `images`.
        images: uint8, shape (n, 32, 32, 3).
        names: Tensors to observe; by default all float32 tensors that nodes make.

    Yields:
        The name of a tensor and its values for one batch of images.
    """
    copy = onnx.shape_inference.infer_shapes(model)
    graph = copy.graph
    infos = {info.name: info for info in (*graph.value_info, *graph.output)}
    wanted = [
        name
        for node in graph.node
        for name in node.output
        if infos[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and (names is None or name in names)
    ]
    given = {info.name for info in graph.output}
    graph.output.extend(infos[name] for name in wanted if name not in given)
    session = answers.session(copy.SerializeToString())
    for start in range(0, len(images), _BATCH_SIZE):
        progress.count(start, len(images), "calibration images")
        arrays = session.run(wanted, {"images": images[start : start + _BATCH_SIZE]})
        yield from zip(wanted, arrays, strict=True)
