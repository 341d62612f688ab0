"""The signature `classify` of the bundled models, from tf.Examples with an image to named classes.

The SavedModel has a separate graph for it, which TensorFlow Serving can run::

    inputs string [-1] ─▶ parse_example ─▶ decode, resize ─▶ images ─▶ scores, classes

ONNX can neither parse tf.Examples nor decode image files. For the ONNX model the server does both,
as the feature spec in signature.json says, and then runs the same model.onnx as `serving_default`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.errors import GateFailed
from export.gates import parity
from export.gates.answers import Answers, Images
from export.sources import saved_model
from serving.protos.tensorflow_example_pb2 import Example
from serving.tensors.example_parser import ExampleParser
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.signature import CLASSIFY_METHOD_NAME, DataType, Signature, TensorSpec

NAME = "classify"
FEATURE = "image"
_ENCODED, _RAW = f"{FEATURE}/encoded", f"{FEATURE}/raw"
_FORMS = ("png", "raw")
_CHECKED = 500


def parse(inputs: Any, *, height: int, width: int) -> Any:  # noqa: ANN401  symbolic tensors
    """Turn serialized tf.Examples into images with TensorFlow operations.

    Args:
        inputs: string, shape (n,). Each example has either `image/encoded`, a PNG or JPEG file of
            any size (scaled by bilinear interpolation with antialiasing; the aspect ratio is not
            kept), or `image/raw`, height * width * 3 bytes.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        uint8, shape (n, height, width, 3).
    """
    optional = tf.io.FixedLenFeature([], tf.string, default_value=b"")
    features = tf.io.parse_example(inputs, {_ENCODED: optional, _RAW: optional})

    def encoded(data: Any) -> Any:  # noqa: ANN401
        # The default discrete cosine transform of libjpeg and Pillow. TensorFlow's default is
        # faster, but its pixels differ from theirs by up to four grey levels.
        pixels = tf.cond(
            tf.io.is_jpeg(data),
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_png(data, channels=3),
        )
        scaled = tf.image.resize(pixels, (height, width), method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(scaled), 0, 255), tf.uint8)

    def raw(data: Any) -> Any:  # noqa: ANN401
        expected = height * width * 3
        told = [f"{_RAW} has another number of bytes than {expected}:", tf.strings.length(data)]
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.equal(tf.strings.length(data), expected), told)]
        ):
            return tf.reshape(tf.io.decode_raw(data, tf.uint8), (height, width, 3))

    def image(pair: Any) -> Any:  # noqa: ANN401
        file, pixels = pair
        has_file, has_pixels = tf.not_equal(file, b""), tf.not_equal(pixels, b"")
        told = [f"an example must have one of {_ENCODED} and {_RAW}; it has:", has_file, has_pixels]
        with tf.control_dependencies([tf.debugging.Assert(has_file ^ has_pixels, told)]):
            return tf.cond(has_file, lambda: encoded(file), lambda: raw(pixels))

    return tf.map_fn(
        image,
        (features[_ENCODED], features[_RAW]),
        fn_output_signature=tf.TensorSpec((height, width, 3), tf.uint8),
    )


def read(
    folder: Path,
    serving_default: Signature,
    class_names: tuple[str, ...],
    *,
    upright: bool = False,
) -> Signature:
    """The signature `classify` for signature.json.

    Args:
        folder: Folder of the SavedModel with this signature.
        serving_default: Signature that names the ONNX file, its input `images` and its output
            `probabilities`.
        class_names: Class names in the order of the SavedModel's output `classes`.
        upright: Whether the server turns pictures as their EXIF data say, because the model was
            trained on upright ones. The SavedModel's graph cannot do that.
    """
    definition = saved_model.signature_def(folder, NAME)
    scores = serving_default.outputs["probabilities"]
    return Signature(
        method_name=CLASSIFY_METHOD_NAME,
        file=serving_default.file,
        inputs={"inputs": saved_model.tensor_spec(definition.inputs["inputs"], "inputs")},
        outputs={
            "classes": TensorSpec(
                dtype=DataType.DT_STRING,
                shape=(-1, len(class_names)),
                tensor="",
                graph_name=definition.outputs["classes"].name,
                constant=class_names,
            ),
            "scores": saved_model.tensor_spec(definition.outputs["scores"], scores.tensor),
        },
        feature_spec={
            "images": FeatureSpec(
                tensor=serving_default.inputs["images"],
                key=FEATURE,
                kind=FeatureKind.IMAGE,
                upright=upright,
            )
        },
    )


def check(folder: Path, signature: Signature, images: Images, onnx: Answers) -> dict[str, Any]:
    """Compare the SavedModel with the server's parser and model, on PNG files and on raw pixels.

    Args:
        folder: Folder of the SavedModel.
        signature: The signature that `read` returns.
        images: uint8, shape (n, side, side, 3); only the first 500 are compared.
        onnx: The ONNX file's answers to all of the images.

    Returns:
        Entry for metrics.json: the number of images compared, and for each form of the images the
        largest difference between two scores.

    Raises:
        GateFailed: the server's parser changes a pixel, or a score or class name differs.
    """
    classify = tf.saved_model.load(str(folder)).signatures[NAME]
    asked = images[:_CHECKED]
    expected = onnx.probabilities[:_CHECKED].astype(np.float64)
    names = signature.outputs["classes"].constant_rows(len(asked))
    findings: dict[str, Any] = {"images": len(asked)}
    for form in _FORMS:
        examples = [_example(image, form) for image in asked]
        parsed = ExampleParser(signature.feature_spec).parse(examples)["images"]
        answer = classify(inputs=tf.constant(examples))
        delta: npt.NDArray[np.float64] = np.abs(answer["scores"].numpy() - expected)
        outside = ~(delta <= parity.ATOL + parity.PROBABILITY_RTOL * expected)
        changed = int((parsed != asked).any(axis=(1, 2, 3)).sum())
        renamed = not np.array_equal(answer["classes"].numpy(), names)
        if changed or renamed or outside.any():
            msg = (
                f"parity gate: signature {NAME!r}, images as {form}: the server's parser changes "
                f"{changed:,} of {len(asked):,} images, {int(outside.any(axis=1).sum()):,} have "
                f"scores outside rtol {parity.PROBABILITY_RTOL:g}, atol {parity.ATOL:g} (largest "
                f"delta {delta.max():.3g}), class names {'differ' if renamed else 'agree'}; "
                "nothing was published"
            )
            raise GateFailed(msg)
        findings[f"max_abs_delta_{form}"] = float(delta.max())
    return findings


def _example(image: npt.NDArray[np.uint8], form: str) -> bytes:
    example = Example()
    key, data = _RAW, image.tobytes()
    if form == "png":
        key, data = _ENCODED, tf.io.encode_png(image).numpy()
    example.features.feature[key].bytes_list.value.append(data)
    return example.SerializeToString()
