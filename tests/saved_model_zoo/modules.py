"""SavedModels of plain tf.functions: signatures, branches, loops, integers, pictures, boxes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sample_saved_models import tensorflow_models
from saved_model_zoo.entry import MODULE, Entry, Make, both, default, floats, integers, pictures


class Weights(tf.Module):
    """A module of variables drawn with a fixed seed."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def variable(*shape: int, dtype: Any = tf.float32) -> tf.Variable:
            return tf.Variable(tf.cast(random.standard_normal(shape), dtype))

        self.first = variable(4, 8)
        self.second = variable(8, 3)
        self.bias = variable(8)
        self.brain = variable(4, 8, dtype=tf.bfloat16)


def spec(*shape: int | None, dtype: Any = tf.float32, name: str = "x") -> tf.TensorSpec:
    """Return the TensorSpec of an input."""
    return tf.TensorSpec(shape, dtype, name=name)


def save(folder: Path, module: tf.Module, functions: Mapping[str, Any]) -> None:
    """Write a SavedModel.

    Args:
        folder: Folder to write.
        module: Module of the variables.
        functions: By signature name, a function of the module and the inputs, and the inputs'
            TensorSpecs.
    """

    def bound(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arrays: function(module, *arrays)

    made = {
        name: tf.function(bound(function), input_signature=inputs)
        for name, (function, *inputs) in functions.items()
    }
    module.functions = list(made.values())
    tf.saved_model.save(module, str(folder), signatures=made)


def of_function(
    name: str,
    what: str,
    function: Callable[..., Any],
    make: Make,
    *inputs: tf.TensorSpec,
    module: Callable[[], tf.Module] = Weights,
    **more: Any,
) -> Entry:
    """Return the entry of a model with one signature."""
    return Entry(
        name=name,
        what=what,
        made_with=MODULE,
        build=lambda folder: save(folder, module(), {"serving_default": (function, *inputs)}),
        questions=default(make),
        **more,
    )


def _several(folder: Path) -> None:
    def hidden(module: Weights, x: Any) -> Any:
        return tf.nn.relu(x @ module.first + module.bias)

    save(
        folder,
        Weights(),
        {
            "serving_default": (
                lambda module, x: {"scores": tf.nn.softmax(hidden(module, x) @ module.second)},
                spec(None, 4),
            ),
            "embedding": (lambda module, x: {"hidden": hidden(module, x)}, spec(None, 4)),
            "best": (
                lambda module, x: {"best": tf.argmax(hidden(module, x) @ module.second, axis=1)},
                spec(None, 4),
            ),
            "is_positive": (lambda _, x: {"y": x > 0}, spec(None, dtype=tf.int32)),
        },
    )


def _loop(_: Any, x: Any) -> Any:
    """Return square roots by Newton's method; the value that converges last ends the loop."""
    positive = tf.abs(x) + 1.0
    root = tf.while_loop(
        lambda guess: tf.reduce_any(tf.abs(guess * guess - positive) > 1e-3),
        lambda guess: [(guess + positive / guess) / 2],
        [positive],
        maximum_iterations=30,
    )[0]
    return {"root": root}


def _branches(module: Weights, x: Any, training: Any) -> Any:
    y = tf.cond(training, lambda: x * 2, lambda: tf.nn.relu(x @ module.first)[:, :4])
    return {"y": y @ module.first}


def _cases(module: Weights, x: Any) -> Any:
    branches = [lambda: x @ module.first, lambda: tf.tile(x, [1, 2])]
    return {"y": tf.switch_case(tf.cast(x[0, 0] > 0, tf.int32), branches)}


def _best(module: Weights, x: Any) -> Any:
    hidden = x @ module.first
    values, indices = tf.math.top_k(hidden, 3)
    return {
        "best": tf.argmax(hidden, axis=1),
        "worst": tf.argmin(hidden, axis=1, output_type=tf.int32),
        "values": values,
        "indices": indices,
        "order": tf.argsort(hidden, axis=1, direction="DESCENDING", stable=True),
        "is_sure": tf.reduce_max(tf.nn.softmax(hidden), axis=1) > 0.9,
    }


def _resized(_: Any, x: Any) -> Any:
    scaled = tf.image.resize(tf.cast(x, tf.float32), (10, 12))
    return {
        "bilinear": scaled,
        "nearest": tf.image.resize(x, (6, 5), method="nearest"),
        "half": tf.image.resize(tf.cast(x, tf.float32), (4, 4)),
        "cropped": tf.image.central_crop(x, 0.5),
        "standard": tf.image.per_image_standardization(x),
        "gray": tf.image.rgb_to_grayscale(scaled),
    }


def _boxes(_: Any, boxes: Any, scores: Any) -> Any:
    corners = tf.concat([boxes[:, :2], boxes[:, :2] + tf.abs(boxes[:, 2:]) + 0.5], axis=1)
    kept = tf.image.non_max_suppression(corners, scores, 5, iou_threshold=0.4)
    return {"kept": kept, "boxes": tf.gather(corners, kept), "scores": tf.gather(scores, kept)}


def _indexing(module: Weights, ids: Any) -> Any:
    rows = tf.gather(module.second, ids)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(ids[:, 0]), ids[:, 0], 8)
    return {
        "one_hot": tf.one_hot(ids, 8),
        "sum": tf.reduce_sum(rows, axis=1),
        "taken": tf.gather(rows, tf.zeros_like(ids[:, :1]), batch_dims=1),
        "running": tf.cumsum(ids, axis=1, exclusive=True),
        "reversed": tf.reverse(ids, axis=[1]),
        "counts": counts,
        "parity": ids % 2,
        "bits": tf.bitwise.bitwise_xor(ids, 5),
    }


def _ragged(module: Weights, ids: Any) -> Any:
    """Return the mean embedding of each row's ids without padding, by ragged tensors."""
    rows = tf.RaggedTensor.from_tensor(ids, padding=0)
    embedded = tf.gather(module.second, rows)
    return {"mean": tf.reduce_mean(embedded, axis=1), "count": rows.row_lengths()}


def _sparse(module: Weights, x: Any) -> Any:
    """Return a sparse product of the values above 0.5 in magnitude."""
    kept = tf.sparse.from_dense(tf.where(tf.abs(x) > 0.5, x, tf.zeros_like(x)))
    return {"y": tf.sparse.sparse_dense_matmul(kept, module.first)}


def _brain(module: Weights, x: Any) -> Any:
    return {"y": x @ tf.cast(module.brain, tf.float32)}


def _spectrum(_: Any, x: Any) -> Any:
    frames = tf.signal.stft(x, frame_length=32, frame_step=16, fft_length=32)
    mel = tf.signal.linear_to_mel_weight_matrix(8, 17, 8000, 125.0, 3800.0)
    return {"log_mel": tf.math.log(tf.tensordot(tf.abs(frames), mel, 1) + 1e-3)}


def _solved(_: Any, x: Any) -> Any:
    return {"y": tf.linalg.cholesky(tf.matmul(x, x, transpose_b=True) + 3 * tf.eye(3))}


def _decoded(_: Any, files: Any) -> Any:
    images = tf.map_fn(
        lambda file: tf.io.decode_jpeg(file, channels=3),
        files,
        fn_output_signature=tf.TensorSpec((8, 8, 3), tf.uint8),
    )
    return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2, 3)), "images": images}


def _files(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    images = random.integers(0, 256, (rows, 8, 8, 3), np.uint8)
    return {"files": np.array([tf.io.encode_jpeg(image).numpy() for image in images], object)}


def _scaled_questions(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    asked = floats("x", 3)(random, rows)
    return asked if random.integers(2) else asked | {"offset": np.float32(0.25)}


def _flag(random: np.random.Generator, _: int) -> dict[str, np.ndarray]:
    return {"training": np.array(bool(random.integers(2)))}


ENTRIES = [
    Entry(
        name="several_signatures",
        what="four signatures of one module",
        made_with=MODULE,
        build=_several,
        questions={
            "serving_default": floats("x", 4),
            "embedding": floats("x", 4),
            "best": floats("x", 4),
            "is_positive": integers("x", 3, dtype=np.int32, low=-3),
        },
    ),
    Entry(
        name="defaults",
        what="SignatureDef.defaults",
        made_with=MODULE,
        build=tensorflow_models.scaled,
        questions=default(_scaled_questions),
        reference="session",
    ),
    of_function("loop", "tf.while_loop", _loop, floats("x", 3), spec(None, 3)),
    of_function(
        "branches",
        "tf.cond",
        _branches,
        both(floats("x", 4), _flag),
        spec(None, 4),
        spec(dtype=tf.bool, name="training"),
    ),
    of_function(
        "cases",
        "tf.switch_case",
        _cases,
        floats("x", 4),
        spec(None, 4),
        way="tensorflow",
        because="Case",
    ),
    of_function("top_k", "top_k, argmax, argsort", _best, floats("x", 4), spec(None, 4)),
    of_function(
        "resized",
        "tf.image.resize, central_crop, uint8",
        _resized,
        pictures("x", 8, 8, 3, dtype=np.uint8),
        spec(None, 8, 8, 3, dtype=tf.uint8),
    ),
    of_function(
        "boxes",
        "non_max_suppression",
        _boxes,
        both(floats("boxes", 4), floats("scores")),
        spec(None, 4, name="boxes"),
        spec(None, name="scores"),
    ),
    of_function(
        "indexing",
        "gather, one_hot, cumsum, unsorted_segment_sum",
        _indexing,
        integers("ids", 8, 5, dtype=np.int32),
        spec(None, 5, dtype=tf.int32, name="ids"),
    ),
    of_function(
        "ragged",
        "RaggedTensor inside",
        _ragged,
        integers("ids", 8, 5, dtype=np.int32),
        spec(None, 5, dtype=tf.int32, name="ids"),
    ),
    of_function("sparse", "SparseTensor inside", _sparse, floats("x", 4), spec(None, 4)),
    of_function("bfloat16", "bfloat16 variables inside", _brain, floats("x", 4), spec(None, 4)),
    of_function(
        "any_rank",
        "an input of unknown rank",
        lambda _, x: {"y": tf.nn.relu(x) * 2 + 1},
        floats("x", 2, 3),
        tf.TensorSpec(None, tf.float32, name="x"),
    ),
    of_function("spectrum", "stft, log mel", _spectrum, floats("x", 128), spec(None, 128)),
    of_function(
        "cholesky",
        "tf.linalg.cholesky",
        _solved,
        floats("x", 3, 3),
        spec(None, 3, 3),
        way="tensorflow",
        because="Cholesky",
    ),
    of_function(
        "decoded_jpeg",
        "decode_jpeg in the graph",
        _decoded,
        _files,
        spec(None, dtype=tf.string, name="files"),
        way="tensorflow",
        because="'files' is DT_STRING",
    ),
    Entry(
        name="mixed_rows",
        what="rows less the mean of their batch",
        made_with=MODULE,
        build=lambda folder: save(
            folder,
            Weights(),
            {"serving_default": (lambda _, x: {"y": x - tf.reduce_mean(x, 0)}, spec(None, 4))},
        ),
        questions=default(floats("x", 4)),
    ),
]
