"""What the Keras model, the SavedModel and the ONNX file answer to the same images."""

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

from export.errors import ExportError
from serving.repository.model_folder import Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

Images = npt.NDArray[np.uint8]
_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One artefact's answers to n images, in their order.

    Attributes:
        source: Who answered: "Keras", "SavedModel" or "ONNX".
        logits: float32, shape (n, 10).
        probabilities: float32, shape (n, 10); as served.
        classes: int64, shape (n,); as served.
    """

    source: str
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


def of_keras(model: keras.Model, images: Images) -> Answers:
    """Ask a Keras model; softmax (in float64) and argmax are NumPy's, as an independent check.

    Args:
        model: Maps images to logits.
        images: uint8, shape (n, 32, 32, 3).
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
    """Load a SavedModel written by to_saved_model back from disk and ask it.

    Args:
        folder: Holds saved_model.pb.
        images: uint8, shape (n, 32, 32, 3).
    """
    loaded = tf.saved_model.load(str(folder))
    serving_default = loaded.signatures[DEFAULT_SIGNATURE_NAME]

    def run(batch: Images) -> list[Any]:
        served = serving_default(images=tf.constant(batch))
        return [loaded.logits(tf.constant(batch)), served["probabilities"], served["classes"]]

    logits, probabilities, classes = _in_batches(run, images)
    return Answers(source="SavedModel", logits=logits, probabilities=probabilities, classes=classes)


def of_onnx(file: Path, images: Images, precision: Precision = "fp32") -> Answers:
    """Ask an ONNX file as it lies on disk, and a copy of it in memory for the logits.

    Args:
        file: A graph with input `images` and outputs `probabilities` and `classes`.
        images: uint8, shape (n, 32, 32, 3).
        precision: Of the graph; it runs as the server runs graphs of this precision.

    Raises:
        ExportError: the probabilities do not come from a Softmax, so that there are no logits.
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
    """ONNX Runtime on the CPU, with as many threads as this process has cores."""
    options = onnxruntime.SessionOptions()
    # The default would be the host's cores, also in a container that may use only a few of them.
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    options.intra_op_num_threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Threads that wait in a loop would slow down whatever shares these cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "w8":  # as serving.engine.runtime does: weights become float32 once, at load
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _with_logits(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Make the input of the final Softmax an output of the graph as well."""
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
    """Run batch by batch and join the results: one array for each output."""
    parts = [
        [np.asarray(output) for output in run(images[start : start + _BATCH_SIZE])]
        for start in range(0, len(images), _BATCH_SIZE)
    ]
    return (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
