"""The answers of the Keras model, the SavedModel and the ONNX file to the same images."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf

from export import progress
from export.errors import ExportError
from serving.repository.model_folder import Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

Images = npt.NDArray[np.uint8]
_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One artefact's answers to n images, in the order of the images.

    Attributes:
        source: The artefact: "Keras", "SavedModel" or "ONNX".
        logits: float32, shape (n, classes).
        probabilities: float32, shape (n, classes); the served output of SavedModel and ONNX.
        classes: int64, shape (n,); the served output of SavedModel and ONNX.
    """

    source: str
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


def of_keras(model: keras.Model, images: Images) -> Answers:
    """Run a Keras model; NumPy computes softmax (in float64) and argmax, as an independent check.

    Args:
        model: Maps images to logits.
        images: uint8, shape (n, side, side, 3).
    """
    forward = tf.function(lambda batch: model(batch, training=False))
    (logits,) = _in_batches(lambda batch: [forward(tf.constant(batch))], images)
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return Answers(
        source="Keras",
        logits=logits,
        probabilities=(exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32),
        classes=logits.argmax(axis=1),
    )


def of_saved_model(folder: Path, images: Images) -> Answers:
    """Load a SavedModel that to_saved_model wrote, and run it.

    Args:
        folder: Folder of saved_model.pb.
        images: uint8, shape (n, side, side, 3).
    """
    loaded = tf.saved_model.load(str(folder))
    serving_default = loaded.signatures[DEFAULT_SIGNATURE_NAME]

    def run(batch: Images) -> list[Any]:
        served = serving_default(images=tf.constant(batch))
        return [loaded.logits(tf.constant(batch)), served["probabilities"], served["classes"]]

    logits, probabilities, classes = _in_batches(run, images)
    return Answers(source="SavedModel", logits=logits, probabilities=probabilities, classes=classes)


def of_onnx(file: Path, images: Images, precision: Precision = "fp32") -> Answers:
    """Run an ONNX file unchanged, and a copy of it in memory that also returns the logits.

    Args:
        file: A graph with input `images` and outputs `probabilities` and `classes`.
        images: uint8, shape (n, side, side, 3).
        precision: Precision of the graph; the graph runs with the server's settings for it.

    Raises:
        ExportError: no Softmax makes the probabilities, so there are no logits.
    """
    content = file.read_bytes()
    copy, logits_name = _with_logits(onnx.load_from_string(content))
    as_published = session(content, precision)
    with_logits = session(copy.SerializeToString(), precision)

    def run(batch: Images) -> list[Any]:
        served = as_published.run(["probabilities", "classes"], {"images": batch})
        return [*with_logits.run([logits_name], {"images": batch}), *served]

    logits, probabilities, classes = _in_batches(run, images)
    return Answers(source="ONNX", logits=logits, probabilities=probabilities, classes=classes)


def session(model: bytes, precision: Precision = "fp32") -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU with one thread for each core this process may use."""
    options = onnxruntime.SessionOptions()
    # The default is all cores of the host, even in a container that may use only a few of them.
    affinity = getattr(os, "sched_getaffinity", None)  # exists only on Linux
    options.intra_op_num_threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Threads that wait by spinning slow down other processes on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "w8":  # like serving.engine.runtime: weights become float32 once, at load
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _with_logits(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Add the input of the final Softmax to the graph's outputs; return the model and its name."""
    makers = {name: node for node in model.graph.node for name in node.output}
    softmax = makers.get("probabilities")
    if softmax is None or softmax.op_type != "Softmax":
        found = softmax.op_type if softmax else "nothing"
        msg = f'output "probabilities" is made by {found}, expected Softmax; export the model again'
        raise ExportError(msg)
    name = softmax.input[0]
    shape = ["batch", None]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    )
    return model, name


def _in_batches(run: Callable[[Images], list[Any]], images: Images) -> Iterator[npt.NDArray[Any]]:
    """Run the images in batches and join the results into one array for each output."""
    parts = []
    for start in range(0, len(images), _BATCH_SIZE):
        progress.count(start, len(images), "images")
        parts.append([np.asarray(output) for output in run(images[start : start + _BATCH_SIZE])])
    return (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
