"""The images that set the ranges of quantised activations, and the ranges themselves.

Only training images are used: ranges that had seen the test images would flatter the accuracy on
them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.gates import answers
from training.data.cifar10 import Split

IMAGES = 500
SEED = 0
_BATCH_SIZE = 50
_STEPS = 255  # between the 256 values of 8 bits
_PLACES = 512  # values of a tensor that are looked at, of each image
_PARTS = np.geomspace(0.005, 1, 48)

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Training images drawn without replacement.

    Attributes:
        split: The images drawn, in their order in the training set.
        drawn_from: Number of training images.
        seed: Of the draw.
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
        count: How many to draw; all if there are fewer.
        seed: Of the draw.
    """
    total = len(training)
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:count])
    split = Split(images=training.images[chosen], labels=training.labels[chosen])
    return Calibration(split=split, drawn_from=total, seed=seed)


def ranges(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> dict[str, Range]:
    """The range of each float32 tensor that suits most images when its values become 8 bits.

    Deep in a classifier the values of one image may be a hundred times as large as another's. The
    range from the smallest to the largest value of all would leave a few images the 256 steps, and
    round the others to nothing; the mean square error, to which those few contribute most, prefers
    it all the same. But an image's class hardly changes when all its values shrink alike. So each
    image counts by its relative error: the square error of its values, as a share of their mean
    square. Of the full range and smaller parts of it, the one with the least error is taken.

    (ONNX Runtime's own calibrators offer the full range, entropy, and a percentile of all values.)

    Args:
        model: A float32 graph with input `images`.
        images: uint8, shape (n, 32, 32, 3).

    Returns:
        Smallest and largest value by tensor name; 0 lies within.
    """
    limits: dict[str, Range] = {}
    samples: dict[str, list[npt.NDArray[np.float32]]] = {}
    for name, values in observe(model, images):
        low, high = limits.get(name, (0.0, 0.0))
        limits[name] = (min(low, float(values.min())), max(high, float(values.max())))
        samples.setdefault(name, []).append(_sample(values))
    return {
        name: _best_part(limits[name], np.concatenate(parts)) for name, parts in samples.items()
    }


def _sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Some of each image's values, from the same places; shape (n, at most _PLACES)."""
    rows = values.reshape(len(values), -1)
    places = np.random.default_rng(SEED).permutation(rows.shape[1])[:_PLACES]
    return rows[:, np.sort(places)]


def _best_part(limits: Range, values: npt.NDArray[np.float32]) -> Range:
    """Of the parts of a range, the one with the least relative error.

    Args:
        limits: The range; one without width is left as it is.
        values: Of n images, shape (n, k).
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
    """What the inner tensors of a graph hold, batch by batch.

    Args:
        model: A graph with input `images`.
        images: uint8, shape (n, 32, 32, 3).
        names: Tensors to look at; by default all float32 ones that nodes make.

    Yields:
        A tensor's name and its values for some of the images.
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
        arrays = session.run(wanted, {"images": images[start : start + _BATCH_SIZE]})
        yield from zip(wanted, arrays, strict=True)
