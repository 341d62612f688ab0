"""From a trained Keras model to a SavedModel with the served signatures.

`serving_default` takes raw pixels and does everything else in the graph::

    images uint8 [-1,32,32,3] ─▶ Keras model ─▶ logits ─┬─ softmax ─▶ probabilities float32 [-1,10]
                                                        └─ argmax ──▶ classes int64 [-1]

`classify` takes tf.Examples with pictures and answers class names with scores; see
classify_signature.

Keras' own `model.export` names the output `output_0` and offers a second signature, `serve`; a
plain `tf.Module` keeps the names that clients see in our hands.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from export.convert import classify_signature
from export.errors import ExportError
from export.sources import saved_model
from serving.tensors.signature import CLASSIFY_METHOD_NAME, DEFAULT_SIGNATURE_NAME
from training.data.cifar10 import CLASS_NAMES

INPUT_NAME = "images"
_INPUT_SHAPE = (None, 32, 32, 3)
_OUTPUT_SHAPE = (None, len(CLASS_NAMES))


class Classifier(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """A Keras model as TensorFlow Serving sees it.

    Attributes:
        logits: tf.function, images to logits float32 (n, 10). Saved as an attribute but not as a
            signature: the parity gate compares logits, which the served outputs no longer hold.
        predict: tf.function, images to {"probabilities", "classes"}.
        classify: tf.function, serialized tf.Examples to {"scores", "classes"}, all ten of each.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self.weights = [variable.value for variable in model.variables]  # tracked, so saved
        images = tf.TensorSpec(_INPUT_SHAPE, tf.uint8, name=INPUT_NAME)
        self.logits: Callable[..., Any] = tf.function(
            lambda images: model(images, training=False), input_signature=[images]
        )

        def predict(images: Any) -> dict[str, Any]:  # noqa: ANN401  a symbolic tensor
            logits = model(images, training=False)
            # argmax of the logits, not of the softmax, where small differences vanish.
            return {"probabilities": tf.nn.softmax(logits), "classes": tf.argmax(logits, axis=-1)}

        self.predict: Callable[..., Any] = tf.function(predict, input_signature=[images])

        def classify(inputs: Any) -> dict[str, Any]:  # noqa: ANN401  a symbolic tensor
            _, height, width, _ = _INPUT_SHAPE
            pixels = classify_signature.parse(inputs, height=height, width=width)
            scores = tf.nn.softmax(model(pixels, training=False))
            names = tf.tile(tf.constant([CLASS_NAMES]), [tf.shape(scores)[0], 1])
            return {"scores": scores, "classes": names}

        examples = tf.TensorSpec([None], tf.string, name="inputs")
        self.classify: Callable[..., Any] = tf.function(classify, input_signature=[examples])


def load_keras(file: Path) -> keras.Model:
    """Load a trained model in float32 on the TensorFlow backend, wherever it was trained.

    Args:
        file: `model.keras`, trained with any Keras backend and precision policy.

    Returns:
        A model with input `images` uint8 (n, 32, 32, 3) and output logits float32 (n, 10).

    Raises:
        ExportError: the backend is not TensorFlow, the file cannot be read, or the model has
            another input or output.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        msg = (
            f"Keras runs on {backend!r}, but a SavedModel can be written by 'tensorflow' alone; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )
        raise ExportError(msg)
    try:
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras' own errors; no common base
        msg = f"{file} is no Keras model that can be loaded ({type(error).__name__}: {error})"
        raise ExportError(msg) from error
    serialized = keras.saving.serialize_keras_object(model)
    policies = set(_dtype_policies(serialized))
    if policies - {"float32"}:
        model = _in_float32(model, serialized, file)
    _check_interface(model, file)
    return model


def _in_float32(model: keras.Model, serialized: dict[str, Any], file: Path) -> keras.Model:
    """The same model, computing in float32.

    A model trained with mixed precision would be exported with float16 arithmetic, which is slower
    on CPUs. Its variables are float32 already, so rebuilding it changes no weight.
    """
    rebuilt = keras.saving.deserialize_keras_object(_with_float32_policy(serialized))
    try:
        rebuilt.set_weights(model.get_weights())
    except ValueError as error:  # quantised layers have other variables than float ones
        policies = ", ".join(sorted(set(_dtype_policies(serialized))))
        msg = (
            f"{file} computes in {policies} and cannot be rebuilt in float32 ({error}); export "
            "the model as it was before quantisation"
        )
        raise ExportError(msg) from error
    return rebuilt


def _dtype_policies(node: Any) -> Iterator[str]:  # noqa: ANN401  any JSON value
    """Names of the precision policies in a serialized model, nested models included."""
    if isinstance(node, list):
        for item in node:
            yield from _dtype_policies(item)
    elif isinstance(node, dict):
        if str(node.get("class_name")).endswith("DTypePolicy"):
            yield node["config"]["name"]
        for value in node.values():
            yield from _dtype_policies(value)


def _with_float32_policy(node: Any) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(node, list):
        return [_with_float32_policy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if str(node.get("class_name")).endswith("DTypePolicy"):
        return "float32"
    return {key: _with_float32_policy(value) for key, value in node.items()}


def write(model: keras.Model, folder: Path) -> None:
    """Write a model as a SavedModel that TensorFlow Serving can mount.

    Args:
        model: As load_keras returns it.
        folder: A version folder that is being made; gets saved_model.pb, fingerprint.pb and
            variables/.
    """
    classifier = Classifier(model)
    signatures = {
        DEFAULT_SIGNATURE_NAME: classifier.predict,
        classify_signature.NAME: classifier.classify,
    }
    tf.saved_model.save(classifier, str(folder), signatures=signatures)
    saved_model.set_method_name(folder, classify_signature.NAME, CLASSIFY_METHOD_NAME)
    # Always made, always empty here; git would drop it, and folders on disk would then differ.
    shutil.rmtree(folder / "assets", ignore_errors=True)


def _check_interface(model: keras.Model, file: Path) -> None:
    inputs, outputs = model.inputs, model.outputs
    found = (
        ", ".join(f"{tensor.name} {tensor.dtype} {tensor.shape}" for tensor in inputs),
        ", ".join(f"{tensor.dtype} {tensor.shape}" for tensor in outputs),
    )
    expected = (
        f"{INPUT_NAME} uint8 {_INPUT_SHAPE}",
        f"float32 {_OUTPUT_SHAPE}",
    )
    if found != expected:
        msg = (
            f"{file} maps {found[0]} to {found[1]}, expected {expected[0]} to logits "
            f"{expected[1]}; train it with `python -m training`, or write it as a SavedModel "
            "yourself and publish that with `python -m export saved-model`"
        )
        raise ExportError(msg)
