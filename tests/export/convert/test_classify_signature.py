import io
from unittest.mock import ANY

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.convert import classify_signature
from export.errors import GateFailed
from export.gates import answers
from serving.client import PredictClient
from serving.protos.tensorflow_example_pb2 import Example
from serving.repository import model_folder
from serving.tensors.example_parser import ExampleParser
from training.data.cifar10 import CLASS_NAMES


@pytest.fixture(scope="module")
def saved_classify(published):
    """The signature `classify` of the published SavedModel, loaded by TensorFlow."""
    loaded = tf.saved_model.load(str(published.path))
    return loaded.signatures["classify"]


@pytest.fixture(scope="module")
def signature(published):
    """The signature `classify` as the server reads it."""
    return model_folder.read(published.path).signatures["classify"]


def example(**features):
    """Return a serialized tf.Example with a feature `image/NAME` for each keyword."""
    message = Example()
    for form, data in features.items():
        message.features.feature[f"image/{form}"].bytes_list.value.append(data)
    return message.SerializeToString()


def encode(pixels, kind, **options):
    """Return the bytes of a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_signature_is_the_documented_one(published, signature):
    """`classify` takes serialized examples and returns ten constant names and ten scores."""
    definition = classify_signature.saved_model.signature_def(published.path, "classify")

    assert signature.to_json() == {
        "method_name": "tensorflow/serving/classify",
        "file": "model.onnx",
        "inputs": {
            "inputs": {
                "dtype": "DT_STRING",
                "shape": [-1],
                "tensor": "inputs",
                "graph_name": definition.inputs["inputs"].name,
            }
        },
        "outputs": {
            "classes": {
                "dtype": "DT_STRING",
                "shape": [-1, 10],
                "tensor": "",
                "graph_name": definition.outputs["classes"].name,
                "constant": list(CLASS_NAMES),
            },
            "scores": {
                "dtype": "DT_FLOAT",
                "shape": [-1, 10],
                "tensor": "probabilities",
                "graph_name": definition.outputs["scores"].name,
            },
        },
        "feature_spec": {
            "images": {
                "kind": "image",
                "key": "image",
                "dtype": "DT_UINT8",
                "shape": [-1, 32, 32, 3],
                "tensor": "images",
                "graph_name": "serving_default_images:0",
            }
        },
        "row_independence": {
            model_folder.sha256(published.path / "model.onnx"): {
                "independent": True,
                "evidence": ANY,
                "max_batch_size": 256,
            }
        },
    }


def test_gate_is_recorded(published):
    """metrics.json has the number of images and the largest difference for PNG and raw images."""
    found = published.metrics["parity"]["classify"]

    assert found["images"] == 80
    assert 0 <= found["max_abs_delta_png"] < 1e-4
    assert 0 <= found["max_abs_delta_raw"] < 1e-4
    assert (
        "Signature `classify`, the first 80 images"
        in (published.path / "MODEL_CARD.md").read_text()
    )


@pytest.mark.parametrize("form", ["png", "raw"])
def test_saved_model_and_onnx_agree(published, saved_classify, signature, test_images, form):
    """TensorFlow and the server parse and decode the same examples to the same answers."""
    asked = test_images.images[:20]
    examples = [
        example(raw=image.tobytes()) if form == "raw" else example(encoded=encode(image, "PNG"))
        for image in asked
    ]

    images = ExampleParser(signature.feature_spec).parse(examples)["images"]
    onnx = answers.of_onnx(published.path / "model.onnx", images)
    answer = saved_classify(inputs=tf.constant(examples))

    np.testing.assert_array_equal(images, asked)
    np.testing.assert_allclose(onnx.probabilities, answer["scores"], rtol=1e-3, atol=1e-5)
    assert answer["classes"].numpy().tolist() == [[name.encode() for name in CLASS_NAMES]] * 20


def test_the_server_answers_as_the_saved_model(
    published, saved_classify, test_images, running_server
):
    """A server of the published folder answers Predict on `classify` as TensorFlow does."""
    asked = test_images.images[:20]
    examples = np.array([example(encoded=encode(image, "PNG")) for image in asked], object)
    theirs = saved_classify(inputs=tf.constant(examples.tolist()))

    with running_server(published.path.parents[1]) as target, PredictClient(target) as client:
        ours = client.predict("simcnn", {"inputs": examples}, signature_name="classify")
        arrays = client.predict("simcnn", {"images": asked})

    np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(ours["scores"], arrays["probabilities"])
    assert ours["classes"].tolist() == theirs["classes"].numpy().tolist()


@pytest.mark.parametrize(
    ("size", "kind", "options"),
    [
        ((32, 32), "JPEG", {"quality": 90}),
        ((100, 75), "PNG", {}),
        ((20, 20), "PNG", {}),
        ((64, 96), "JPEG", {"subsampling": 0}),
    ],
)
def test_pictures_of_other_sizes_agree_to_a_grey_level(signature, size, kind, options):
    """Decoded and scaled pictures differ from TensorFlow's by at most one level of 255."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * rows / height, 255 * columns / width, (rows * columns) % 256], -1)
    serialized = example(encoded=encode(pixels.astype(np.uint8), kind, **options))

    theirs = classify_signature.parse(tf.constant([serialized]), height=32, width=32).numpy()
    ours = ExampleParser(signature.feature_spec).parse([serialized])["images"]

    assert np.abs(theirs.astype(int) - ours).max() <= 1


@pytest.mark.parametrize(
    "features", [{}, {"raw": b"short"}, {"raw": b"x" * 3072, "encoded": b"x"}, {"encoded": b"x"}]
)
def test_both_refuse_the_same_examples(saved_classify, signature, features):
    """Both refuse no picture, two pictures, a wrong number of raw bytes, and undecodable files."""
    serialized = example(**features)

    with pytest.raises(tf.errors.InvalidArgumentError):
        saved_classify(inputs=tf.constant([serialized]))
    with pytest.raises(Exception, match="Name: <unknown>, "):
        ExampleParser(signature.feature_spec).parse([serialized])


def test_gate_finds_other_scores(published, signature, test_images):
    """Scores that differ from the SavedModel's fail the gate, with their number for each form."""
    onnx = answers.of_onnx(published.path / "model.onnx", test_images.images[:9])
    onnx.probabilities[4] += 0.01

    with pytest.raises(GateFailed, match=r"images as png: .* changes 0 of 9 images, 1 have scores"):
        classify_signature.check(published.path, signature, test_images.images[:9], onnx)
