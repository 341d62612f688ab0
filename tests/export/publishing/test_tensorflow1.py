"""SavedModels of TensorFlow 1 are published and served with TensorFlow's answers."""

from types import SimpleNamespace

import grpc
import numpy as np
import onnx
import pytest
import tensorflow as tf
from sample_saved_models import tensorflow1_models
from sample_saved_models.tensorflow1_models import CLASSIFY, REGRESS, example

from export.publishing.from_saved_model import publish_saved_model
from export.sources import saved_model
from export.sources.serving_session import ServingSession
from serving.client import PredictClient, PredictError
from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
)
from serving.repository import model_folder

SERVICE = "/tensorflow.serving.PredictionService"
EXAMPLES = [example(x=[1.0]), example(x=[-4.0], x2=[6.0]), example(x=[0.25])]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folders of the SavedModels by model name."""
    folder = tmp_path_factory.mktemp("tensorflow1")
    return {
        "half_plus_two": tensorflow1_models.half_plus(folder / "half_plus_two" / "00000123"),
        "half_plus_three": tensorflow1_models.half_plus(
            folder / "half_plus_three" / "1", 3.0, parsed_shape=[None]
        ),
        "mnist": tensorflow1_models.mnist(folder / "mnist" / "1"),
    }


@pytest.fixture(scope="module")
def models_dir(sources, tmp_path_factory):
    """A models folder with the published `sources`."""
    folder = tmp_path_factory.mktemp("models")
    for name, source in sources.items():
        publish_saved_model(source, folder, name=name)
    return folder


@pytest.fixture(scope="module")
def served(models_dir, running_server):
    """A client and a gRPC channel of a server of `models_dir`."""
    with (
        running_server(models_dir) as target,
        PredictClient(target) as client,
        grpc.insecure_channel(target) as channel,
    ):
        yield SimpleNamespace(client=client, channel=channel)


@pytest.fixture(scope="module")
def tensorflow(sources):
    """A function from model, signature name and inputs to TensorFlow's answer."""
    sessions = {name: ServingSession(source) for name, source in sources.items()}

    def ask(model, signature_name, **inputs):
        signature = saved_model.read_signatures(sources[model])[signature_name]
        return sessions[model].ask(signature, inputs)

    yield ask
    for session in sessions.values():
        session.__exit__(None, None, None)


def objects(serialized):
    array = np.empty(len(serialized), object)
    array[:] = serialized
    return array


def call(channel, method, request, response_type):
    body = channel.unary_unary(f"{SERVICE}/{method}")(request.SerializeToString(), timeout=30)
    return response_type.FromString(body)


def request_of(request_type, model, signature_name, examples=EXAMPLES):
    request = request_type()
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    request.input.example_list.examples.extend(map(Example.FromString, examples))
    return request


@pytest.mark.parametrize(
    "shape", [(), (3,), (1,), (0,), (3, 1), (0, 1), (2, 3), (2, 3, 1)], ids=str
)
@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_three"])
def test_every_shape_is_answered_as_tensorflow_answers_it(served, tensorflow, model, shape):
    """A signature of shape [-1, 1] answers scalars, vectors, matrices and empty batches."""
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    ours = served.client.predict(model, {"x": x})["y"]

    theirs = tensorflow(model, "serving_default", x=x)["y"]
    assert ours.shape == shape
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, x / 2 + (2 if model == "half_plus_two" else 3))


def test_graph_declares_no_rank_and_the_signature_its_shape(models_dir):
    """An input after the parsing has any rank in the graph and [-1, 1] in the signature."""
    folder = models_dir / "half_plus_two" / "1"

    graph = onnx.load(folder / "model.onnx").graph
    spec = model_folder.read(folder).signatures["serving_default"].inputs["x"]

    assert not graph.input[0].type.tensor_type.HasField("shape")
    assert (spec.shape, spec.graph_name) == ((-1, 1), "x:0")
    assert [node.op_type for node in graph.node] == ["Mul", "Add"]


@pytest.mark.parametrize("signature_name", ["regress_x_to_y", "regress_x_to_y2"])
def test_regress_answers_as_tensorflow(served, tensorflow, signature_name):
    """Regress parses tf.Examples as the graph's ParseExample does, with its defaults."""
    request = request_of(RegressionRequest, "half_plus_two", signature_name)

    response = call(served.channel, "Regress", request, RegressionResponse)

    theirs = tensorflow("half_plus_two", signature_name, inputs=objects(EXAMPLES))["outputs"]
    values = [regression.value for regression in response.result.regressions]
    assert values == theirs.ravel().tolist()


def test_classify_answers_as_tensorflow(served, tensorflow):
    """Classify answers TensorFlow's scores for a model without class names."""
    request = request_of(ClassificationRequest, "half_plus_two", "classify_x_to_y")

    response = call(served.channel, "Classify", request, ClassificationResponse)

    theirs = tensorflow("half_plus_two", "classify_x_to_y", inputs=objects(EXAMPLES))["scores"]
    found = [[entry.score for entry in each.classes] for each in response.result.classifications]
    assert found == theirs.tolist()


def test_multi_inference_runs_both(served):
    """One MultiInference request runs two signatures of one placeholder."""
    request = MultiInferenceRequest()
    for method, signature_name in ((REGRESS, "regress_x_to_y"), (CLASSIFY, "classify_x_to_y")):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "half_plus_two"
        task.model_spec.signature_name = signature_name
    request.input.example_list.examples.append(Example.FromString(EXAMPLES[0]))

    response = call(served.channel, "MultiInference", request, MultiInferenceResponse)

    regression, classification = response.results
    assert regression.regression_result.regressions[0].value == 2.5
    assert classification.classification_result.classifications[0].classes[0].score == 2.5


def test_signature_fed_behind_the_parsing_takes_floats(served, tensorflow):
    """Predict takes the feature x2, which TensorFlow Serving's clients feed as floats."""
    x2 = np.array([[2.0], [4.0]], np.float32)

    ours = served.client.predict(
        "half_plus_two", {"inputs": x2}, signature_name="regress_x2_to_y3"
    )["outputs"]

    theirs = tensorflow("half_plus_two", "regress_x2_to_y3", inputs=x2)["outputs"]
    np.testing.assert_array_equal(ours, theirs)


def test_digits_are_named_in_the_order_of_their_scores(served, tensorflow):
    """Class names from a lookup table are ordered by score for each example."""
    random = np.random.default_rng(1)
    images = tensorflow1_models.pictures(np.arange(10), random)
    examples = [example(x=image.tolist()) for image in images]
    request = request_of(ClassificationRequest, "mnist", "", examples)

    response = call(served.channel, "Classify", request, ClassificationResponse)

    theirs = tensorflow("mnist", "serving_default", inputs=objects(examples))
    found = [
        [(entry.label.encode(), entry.score) for entry in each.classes]
        for each in response.result.classifications
    ]
    labels = np.array([[label for label, _ in row] for row in found], object)
    scores = np.array([[score for _, score in row] for row in found], np.float32)
    np.testing.assert_array_equal(labels, theirs["classes"])
    np.testing.assert_allclose(scores, theirs["scores"], rtol=1e-5)
    assert len({tuple(row) for row in labels.tolist()}) > 1


def test_digits_are_predicted_from_pictures(served, tensorflow):
    """Predict takes pictures after the parsing; an empty batch is answered with no rows."""
    images = tensorflow1_models.pictures(np.arange(10), np.random.default_rng(1))
    for batch in (images, images[:1], images[:0]):
        ours = served.client.predict("mnist", {"images": batch}, signature_name="predict_images")

        theirs = tensorflow("mnist", "predict_images", images=batch)
        assert ours["scores"].shape == (len(batch), 10)
        np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-5)


def test_what_tensorflow_refuses_is_refused(served, tensorflow):
    """A matrix product refuses vectors, other sizes and other ranks, as TensorFlow does."""
    for shape in ((784,), (2, 783), (2, 784, 1)):
        images = np.zeros(shape, np.float32)
        with pytest.raises(tf.errors.InvalidArgumentError):
            tensorflow("mnist", "predict_images", images=images)
        with pytest.raises(PredictError, match="INVALID_ARGUMENT"):
            served.client.predict("mnist", {"images": images}, signature_name="predict_images")


def test_metadata_says_that_a_placeholder_has_no_rank(served):
    """A placeholder without a shape has unknown rank in the metadata, as in TensorFlow Serving.

    The placeholder of half_plus_three has the shape [-1].
    """
    of_two, of_three = (
        served.client.signatures(model).signature_def
        for model in ("half_plus_two", "half_plus_three")
    )

    assert of_two["regress_x_to_y"].inputs["inputs"].tensor_shape.unknown_rank
    shape = of_three["regress_x_to_y"].inputs["inputs"].tensor_shape
    assert not shape.unknown_rank
    assert [dim.size for dim in shape.dim] == [-1]
