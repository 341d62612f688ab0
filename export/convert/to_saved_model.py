"""Convert a trained Keras model to a SavedModel with the served signatures.

`serving_default` takes raw pixels; scaling, softmax and argmax are part of the graph::

    images uint8 [-1,S,S,3] ─▶ Keras model ─▶ logits ─┬─ softmax ─▶ probabilities float32 [-1,K]
                                                      └─ argmax ──▶ classes int64 [-1]

For CIFAR-10, S is 32 pixels and K is ten classes.

`classify` takes tf.Examples with images and returns class names with scores; see
classify_signature.

A plain `tf.Module` is saved because it allows names of our choice. Keras' own `model.export` names
the output `output_0` and adds a second signature, `serve`.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
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


class Classifier(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """The module that is saved as a SavedModel: a Keras model behind the served signatures.

    Attributes:
        logits: tf.function from images to logits, float32 (n, classes). It is saved as an attribute
            and not as a signature: the parity gate compares logits, and the signatures return none.
        predict: tf.function from images to {"probabilities", "classes"}.
        classify: tf.function from serialized tf.Examples to {"scores", "classes"}, with the
            scores and names of all classes for each example.
    """

    def __init__(self, model: keras.Model, class_names: Sequence[str]) -> None:
        super().__init__(name=model.name)
        # tf.Module tracks its attributes, so the variables are saved.
        self.weights = [variable.value for variable in model.variables]
        images = tf.TensorSpec(model.input_shape, tf.uint8, name=INPUT_NAME)
        self.logits: Callable[..., Any] = tf.function(
            lambda images: model(images, training=False), input_signature=[images]
        )

        def predict(images: Any) -> dict[str, Any]:  # noqa: ANN401  a symbolic tensor
            logits = model(images, training=False)
            # argmax of the logits: in the softmax, small differences vanish.
            return {"probabilities": tf.nn.softmax(logits), "classes": tf.argmax(logits, axis=-1)}

        self.predict: Callable[..., Any] = tf.function(predict, input_signature=[images])

        def classify(inputs: Any) -> dict[str, Any]:  # noqa: ANN401  a symbolic tensor
            _, height, width, _ = model.input_shape
            pixels = classify_signature.parse(inputs, height=height, width=width)
            scores = tf.nn.softmax(model(pixels, training=False))
            names = tf.tile(tf.constant([list(class_names)]), [tf.shape(scores)[0], 1])
            return {"scores": scores, "classes": names}

        examples = tf.TensorSpec([None], tf.string, name="inputs")
        self.classify: Callable[..., Any] = tf.function(classify, input_signature=[examples])


def load_keras(file: Path) -> keras.Model:
    """Load a trained model in float32 on the TensorFlow backend.

    Args:
        file: `model.keras`, trained with any Keras backend and precision policy.

    Returns:
        A model with input `images`, uint8 (n, side, side, 3), and output logits, float32
        (n, classes).

    Raises:
        ExportError: the backend is not TensorFlow, the file cannot be read, or the model has
            another input or output.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        msg = (
            f"Keras runs on {backend!r}, but only 'tensorflow' can write a SavedModel; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )
        raise ExportError(msg)
    try:
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras errors have no common base
        msg = (
            f"{file} cannot be loaded as a Keras model ({type(error).__name__}: {error}); copy it "
            "again or train again"
        )
        raise ExportError(msg) from error
    model = in_float32(model, file)
    _check_interface(model, file)
    return model


def in_float32(model: keras.Model, file: Path) -> keras.Model:
    """The model with float32 arithmetic: unchanged, or rebuilt if it computes in another precision.

    A model trained with mixed precision would be exported with float16 arithmetic, which is slower
    on CPUs. The variables of such a model are float32, so rebuilding changes no weight.

    Args:
        model: A model that Keras loaded.
        file: Its file, for messages.

    Raises:
        ExportError: the model cannot be rebuilt, because it is quantised.
    """
    serialized = keras.saving.serialize_keras_object(model)
    if not set(_dtype_policies(serialized)) - {"float32"}:
        return model
    rebuilt = keras.saving.deserialize_keras_object(_with_float32_policy(serialized))
    try:
        rebuilt.set_weights(model.get_weights())
    except ValueError as error:  # quantised layers have other variables than float layers
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


def write(model: keras.Model, folder: Path, class_names: Sequence[str] = CLASS_NAMES) -> None:
    """Write a model as a SavedModel that TensorFlow Serving can load.

    Args:
        model: A model from load_keras.
        folder: The unpublished version's folder; saved_model.pb, fingerprint.pb and variables/ are
            written there.
        class_names: Names of the classes in the order of the logits.
    """
    classifier = Classifier(model, class_names)
    signatures = {
        DEFAULT_SIGNATURE_NAME: classifier.predict,
        classify_signature.NAME: classifier.classify,
    }
    tf.saved_model.save(classifier, str(folder), signatures=signatures)
    saved_model.set_method_name(folder, classify_signature.NAME, CLASSIFY_METHOD_NAME)
    # TensorFlow always makes this folder, and here it is always empty. git drops empty folders, so
    # a checkout would differ from the folder on disk.
    shutil.rmtree(folder / "assets", ignore_errors=True)


def _check_interface(model: keras.Model, file: Path) -> None:
    inputs, outputs = model.inputs, model.outputs
    side, classes = 32, len(CLASS_NAMES)
    if len(inputs) == len(outputs) == 1 and inputs[0].shape[1:] == (*inputs[0].shape[1:2] * 2, 3):
        side, classes = inputs[0].shape[1], outputs[0].shape[-1]
    found = (
        ", ".join(f"{tensor.name} {tensor.dtype} {tensor.shape}" for tensor in inputs),
        ", ".join(f"{tensor.dtype} {tensor.shape}" for tensor in outputs),
    )
    expected = (
        f"{INPUT_NAME} uint8 (None, {side}, {side}, 3)",
        f"float32 (None, {classes})",
    )
    if found != expected:
        msg = (
            f"{file} maps {found[0]} to {found[1]}, expected {expected[0]} to logits "
            f"{expected[1]}; train it with `python -m training`, or write it as a SavedModel "
            "yourself and publish that with `python -m export saved-model`"
        )
        raise ExportError(msg)
