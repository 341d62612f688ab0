"""Small models of many kinds, each known to have independent or dependent rows.

Every input and output of every model has a free first dimension, so shapes do not show which.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sample_models import dependent_models as dependent
from sample_models import independent_models as independent

Arrays = dict[str, np.ndarray]


class Entry(NamedTuple):
    """A model of the zoo.

    Attributes:
        name: Name of the model.
        builder: Writes the model into a models folder and returns the version's folder.
        make_inputs: Makes a request's inputs by name from a random generator and a number of
            rows.
        rows_independent: Whether requests for it may be joined and split.
        tolerance: Largest difference between two right answers, as a share of the largest value.
        repeatable: Whether the same request always has the same answer.
    """

    name: str
    builder: Callable[[Path], Path]
    make_inputs: Callable[[np.random.Generator, int], Arrays]
    rows_independent: bool
    tolerance: float = 1e-5
    repeatable: bool = True

    def build(self, models_dir: Path) -> Path:
        """Write the model and return the path of its ONNX file."""
        return self.builder(models_dir) / "model.onnx"


def floats(
    name: str, *shape: int, dtype: type = np.float32
) -> Callable[[np.random.Generator, int], Arrays]:
    """Return a maker of normally distributed values of shape (rows, *shape)."""
    return lambda random, rows: {name: random.normal(size=(rows, *shape)).astype(dtype)}


def loud_floats(name: str, *shape: int) -> Callable[[np.random.Generator, int], Arrays]:
    """Return a maker as `floats`; for a quarter of the requests, values are 1,000 times larger."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        loudness = 1000.0 if random.integers(4) == 0 else 1.0
        values = random.normal(size=(rows, *shape)) * loudness
        return {name: values.astype(np.float32)}

    return make


def integers(
    name: str, high: int, *shape: int, dtype: type = np.int64
) -> Callable[[np.random.Generator, int], Arrays]:
    """Return a maker of integers from 0 to below `high` of shape (rows, *shape)."""
    return lambda random, rows: {name: random.integers(0, high, (rows, *shape)).astype(dtype)}


def sparse(name: str, columns: int) -> Callable[[np.random.Generator, int], Arrays]:
    """Return a maker of normally distributed rows; about a third of the rows are zeros."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        kept = random.integers(0, 3, (rows, 1)) > 0
        return {name: (random.normal(size=(rows, columns)) * kept).astype(np.float32)}

    return make


def images_and_texts(random: np.random.Generator, rows: int) -> Arrays:
    """Make CLIP's inputs with `rows` texts and either `rows` or one to three images."""
    images = rows if random.integers(2) else int(random.integers(1, 4))
    return clip_inputs(random, images=images, texts=rows)


def clip_inputs(random: np.random.Generator, *, images: int, texts: int) -> Arrays:
    """Make CLIP's inputs with two batch sizes, one of the images and one of the texts."""
    lengths = random.integers(1, 7, (texts, 1))
    return {
        "pixel_values": random.normal(size=(images, 3, 4, 4)).astype(np.float32),
        "input_ids": random.integers(0, 20, (texts, 6)),
        "attention_mask": (np.arange(6) < lengths).astype(np.int64),
    }


def candidate_boxes(*shape: int) -> Callable[[np.random.Generator, int], Arrays]:
    """Return a maker of overlapping boxes, two corners and a score, (rows, *shape, 5)."""

    def make(random: np.random.Generator, rows: int) -> Arrays:
        corner = random.uniform(0, 2, (rows, *shape, 2))
        size = random.uniform(0.5, 1, (rows, *shape, 2))
        score = random.uniform(0.1, 1, (rows, *shape, 1))
        boxes = np.concatenate([corner, corner + size, score], axis=-1)
        return {"candidates": boxes.astype(np.float32)}

    return make


def two_inputs(random: np.random.Generator, rows: int) -> Arrays:
    """Make the inputs of `two_outputs`, a (rows, 4) and b (rows, 2)."""
    return floats("a", 4)(random, rows) | floats("b", 2)(random, rows)


_DEPENDENT = (
    (dependent.waveform_normaliser, floats("waveform")),
    (dependent.image_to_mask, floats("image", 8, 3)),
    (dependent.image_contrast, floats("image", 8, 3)),
    (dependent.set_attention, floats("elements", 8)),
    (dependent.time_major_lstm, floats("x", 2, 4)),
    (dependent.sequence_first_lstm, floats("x", 2, 4)),
    (dependent.sequence_classifier, floats("x", 2, 4)),
    (dependent.pointnet, floats("points", 3)),
    (dependent.clip, images_and_texts),
    (dependent.nms_detector, candidate_boxes(12)),
    (dependent.nms_of_one_image, candidate_boxes()),
    (dependent.dynamic_int8, floats("x", 8)),
    (dependent.dynamic_int8_labels, floats("x", 8)),
    (dependent.hand_quantised_labels, loud_floats("x", 8)),
    (dependent.dynamic_quantize_matmul, floats("x", 8)),
    (dependent.training_batch_norm, floats("x", 4)),
    (dependent.drifting_batch_norm, floats("x", 4)),
    (dependent.softmax_over_rows, floats("x", 3)),
    (dependent.running_total, floats("x", 3)),
    (dependent.sorted_rows, floats("x")),
    (dependent.centred_rows, floats("x", 4)),
    (dependent.changes, integers("x", 2, 2)),
    (dependent.mixes_above_two_rows, floats("x", 3)),
    (dependent.mixes_seven_rows, floats("x", 3)),
    (dependent.mixes_above_forty_rows, floats("x", 3)),
    (dependent.mixes_large_values, floats("x", 3)),
    (dependent.mixes_equal_rows, integers("x", 4, 2)),
    (dependent.mixes_zero_rows, sparse("x", 3)),
    (dependent.mean_of_words, sparse("x", 3)),
    (dependent.noisy, floats("x", 3)),
)
_INDEPENDENT = (
    (independent.copy, floats("x", 3)),
    (independent.affine, floats("x", 4)),
    (independent.mlp, floats("x", 8)),
    (independent.labels, floats("x", 4)),
    (independent.two_outputs, two_inputs),
    (independent.half_mlp, floats("x", 8, dtype=np.float16)),
    (independent.cnn, floats("images", 1, 8, 8)),
    (independent.transformer, floats("x", 6, 8)),
    (independent.batch_first_lstm, floats("x", 5, 4)),
    (independent.static_int8, floats("x", 8)),
    (independent.embedding_mean, integers("ids", 50, 8)),
    (independent.tree_regressor, floats("features", 6)),
    (independent.tree_classifier, floats("features", 6)),
    (independent.mobilenet, integers("images", 256, 32, 32, 3, dtype=np.uint8)),
)
_TOLERANCES = {"half_mlp": 2e-3}  # float16 has 11 bits of precision
_NOT_REPEATABLE = {"drifting_batch_norm", "noisy"}

ZOO = tuple(
    Entry(
        name=builder.__name__,
        builder=builder,
        make_inputs=make_inputs,
        rows_independent=rows_independent,
        tolerance=_TOLERANCES.get(builder.__name__, 1e-5),
        repeatable=builder.__name__ not in _NOT_REPEATABLE,
    )
    for models, rows_independent in ((_DEPENDENT, False), (_INDEPENDENT, True))
    for builder, make_inputs in models
)
