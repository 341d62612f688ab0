"""Adds the signature `classify` to a model from elsewhere: tf.Examples with a picture to classes.

The SavedModel has no such signature. The server decodes the pictures as the feature spec in
signature.json says, runs the graph of the signature that takes arrays, and adds the class names.
"""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from export.gates import answers
from export.gates.asked import Asked
from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import CLASSIFY_METHOD_NAME, DataType, Signature, TensorSpec

NAME = "classify"
FEATURE = "image"
_PICTURES = 5
_SEED = 0


def picture_input(signature: Signature) -> str | None:
    """Return the alias of the only input if it takes pictures of a known size, otherwise None.

    Such an input is uint8 or float32 of shape (-1, height, width, channels) with one or three
    channels.
    """
    if len(signature.inputs) != 1 or signature.feature_spec:
        return None
    alias, spec = next(iter(signature.inputs.items()))
    try:
        FeatureSpec(tensor=spec, key=FEATURE, kind=FeatureKind.IMAGE)
    except ValueError:
        return None
    return alias


def make(signature: Signature, class_names: Sequence[str], scores: str) -> Signature | None:
    """Return the signature `classify` for signature.json.

    Args:
        signature: The signature that takes arrays.
        class_names: The class names in the order of the scores.
        scores: Alias of the signature's output with the scores.

    Returns:
        A signature with the input `inputs`, serialized tf.Examples with `image/encoded` or
        `image/raw`, and the outputs `classes` and `scores`. None if the given signature does not
        take pictures of a known size, or its scores are not float32.
    """
    alias = picture_input(signature)
    output = signature.outputs[scores]
    if alias is None or output.dtype is not DataType.DT_FLOAT:
        return None
    return Signature(
        method_name=CLASSIFY_METHOD_NAME,
        file=signature.file,
        inputs={
            "inputs": TensorSpec(
                dtype=DataType.DT_STRING, shape=(-1,), tensor="inputs", graph_name="inputs"
            )
        },
        outputs={
            "classes": TensorSpec(
                dtype=DataType.DT_STRING,
                shape=(-1, len(class_names)),
                tensor="",
                graph_name="classes",
                constant=tuple(class_names),
            ),
            "scores": output,
        },
        feature_spec={
            alias: FeatureSpec(tensor=signature.inputs[alias], key=FEATURE, kind=FeatureKind.IMAGE)
        },
    )


def questions(graph: bytes, classify: Signature) -> list[Asked]:
    """Return requests to `classify` for the served gate, with the answers they must get.

    The expected scores are the graph's answers to the same pixels as arrays.

    Args:
        graph: The ONNX graph.
        classify: The signature that `make` returns.

    Returns:
        Two requests with the same random pictures: as PNG files, and as raw pixels.
    """
    feature = next(iter(classify.feature_spec.values())).tensor
    pictures = np.random.default_rng(_SEED).integers(
        0, 256, (_PICTURES, *feature.known_shape[1:]), np.uint8
    )
    scores, names = (classify.outputs[alias] for alias in ("scores", "classes"))
    expected = answers.session(graph).run(
        [scores.tensor], {feature.tensor: pictures.astype(feature.dtype.numpy)}
    )[0]
    outputs = {"scores": expected, "classes": names.constant_rows(len(pictures))}
    return [
        Asked(signature=NAME, inputs={"inputs": _examples(pictures, form)}, outputs=outputs)
        for form in ("encoded", "raw")
    ]


def _examples(pictures: npt.NDArray[np.uint8], form: str) -> npt.NDArray[np.object_]:
    """Return serialized tf.Examples, dtype object, shape (n,), with pictures in the given form."""
    examples = np.empty(len(pictures), dtype=object)
    for row, picture in enumerate(pictures):
        data = picture.tobytes() if form == "raw" else _png(picture)
        example = Example()
        example.features.feature[f"{FEATURE}/{form}"].bytes_list.value.append(data)
        examples[row] = example.SerializeToString()
    return examples


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    channels = picture.shape[-1]
    Image.fromarray(picture[..., 0] if channels == 1 else picture).save(buffer, "PNG")
    return buffer.getvalue()
