import grpc
import numpy as np
import pytest
from calling.example_calls import (
    CLASSIFY,
    ONE,
    SERVICE,
    call,
    classify,
    fill,
    fill_input,
    refusal,
    regress,
)
from image_files import png
from sample_models.example_models import example

from serving.client import PredictClient, PredictError
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    RegressionRequest,
    RegressionResponse,
)


@pytest.fixture(scope="module")
def channel(address):
    with grpc.insecure_channel(address) as opened:
        yield opened


def scores_of(response):
    return [[c.score for c in row.classes] for row in response.result.classifications]


def labels_of(response):
    return [[c.label for c in row.classes] for row in response.result.classifications]


def test_classify_answers_every_class_of_every_example(channel):
    """Each example gets labels and scores in class order; the answer has the model spec."""
    response = classify(channel, "numbers", [ONE, example(x=[0.0, 0.0], n=[7])])

    assert labels_of(response) == [["up", "down"]] * 2
    assert scores_of(response) == [[8, -8], [7, -7]]
    assert response.model_spec.name == "numbers"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "classify"


def test_pictures_pixels_and_arrays_give_equal_scores(channel, address, sample_images):
    """PNG bytes, raw bytes and arrays of the same images get bit-equal probabilities."""
    files = [example(image__encoded=png(image)) for image in sample_images]
    raw = [example(image__raw=image.tobytes()) for image in sample_images]
    with PredictClient(address) as client:
        expected = client.predict("pictures", {"images": sample_images})["probabilities"]

    from_files = classify(channel, "pictures", files)
    from_raw = classify(channel, "pictures", raw)

    assert scores_of(from_files) == expected.tolist()
    assert scores_of(from_raw) == expected.tolist()
    assert labels_of(from_files) == [["dark", "bright"]] * 24


def test_predict_takes_serialized_examples(address, sample_images):
    """Predict on a signature of tf.Examples takes one DT_STRING input, as in TensorFlow Serving."""
    examples = np.array([example(image__raw=image.tobytes()) for image in sample_images], object)
    with PredictClient(address) as client:
        answer = client.predict("pictures", {"inputs": examples}, signature_name="classify")
        arrays = client.predict("pictures", {"images": sample_images})

    assert answer["classes"].tolist() == [[b"dark", b"bright"]] * 24
    np.testing.assert_array_equal(answer["scores"], arrays["probabilities"])


def test_metadata_shows_the_public_signature(address):
    """Metadata shows the DT_STRING input of a signature, not the graph's input tensors."""
    with PredictClient(address) as client:
        signature = client.signatures("pictures").signature_def["classify"]

    assert signature.method_name == CLASSIFY
    assert list(signature.inputs) == ["inputs"]
    assert signature.inputs["inputs"].name == "classify_inputs:0"
    assert signature.inputs["inputs"].dtype == 7
    assert [dim.size for dim in signature.inputs["inputs"].tensor_shape.dim] == [-1]
    assert signature.outputs["classes"].name == "P:0"
    assert signature.outputs["classes"].dtype == 7


def test_one_output_can_be_asked_for_alone(address):
    """The output filter selects constant and computed outputs; constants need no run."""
    inputs = {"inputs": np.array([ONE, ONE], object)}
    with PredictClient(address) as client:
        classes = client.predict("numbers", inputs, signature_name="classify", outputs=["classes"])
        scores = client.predict("numbers", inputs, signature_name="classify", outputs=["scores"])

    assert {alias: array.tolist() for alias, array in classes.items()} == {
        "classes": [[b"up", b"down"]] * 2
    }
    assert {alias: array.tolist() for alias, array in scores.items()} == {"scores": [[8, -8]] * 2}


@pytest.mark.parametrize("signature_name", ["", "column"])
def test_regress_answers_a_number_an_example(channel, signature_name):
    """Regress takes outputs of shape (batch,) and (batch, 1); "" means serving_default."""
    response = regress(channel, "numbers", [ONE, example(x=[0.5, 0.0])], signature_name)

    assert [entry.value for entry in response.result.regressions] == [8, 5.5]
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == (signature_name or "serving_default")


def test_context_is_merged_into_each_example(channel):
    """A feature of the context is used unless the example has the feature itself."""
    context = example(x=[10.0, 10.0], n=[1])

    response = regress(channel, "numbers", [example(), example(n=[2]), ONE], context=context)

    assert [entry.value for entry in response.result.regressions] == [21, 22, 4]


def test_examples_of_several_requests_keep_apart(channel):
    """40 concurrent requests that share batches each get their own answers."""
    method = channel.unary_unary(f"{SERVICE}/Regress")
    requests = []
    for number in range(40):
        request = RegressionRequest()
        fill(request, "numbers", [example(x=[float(number), 0.5])] * (number % 3 + 1), "", None)
        requests.append(request.SerializeToString())

    waiting = [method.future(body, timeout=30) for body in requests]
    answers = [RegressionResponse.FromString(future.result()) for future in waiting]

    for number, answer in enumerate(answers):
        values = [entry.value for entry in answer.result.regressions]
        assert values == [number + 5.5] * (number % 3 + 1)


def test_missing_classes_leave_the_folders_names(channel):
    """Without an output `classes`, labels are the folder's class names, if their number fits."""
    assert labels_of(classify(channel, "numbers", [ONE], "scores")) == [["plus", "minus"]]


def test_missing_scores_are_zero(channel):
    """Without an output `scores`, labels are answered with score 0, as in TensorFlow Serving."""
    response = classify(channel, "numbers", [ONE], "classes")

    assert labels_of(response) == [["up", "down"]]
    assert scores_of(response) == [[0, 0]]


@pytest.mark.parametrize(
    ("function", "signature_name", "examples", "refused"),
    [
        (
            classify,
            "nope",
            [ONE],
            ("INVALID_ARGUMENT", "No signature was found with the name: nope"),
        ),
        (
            regress,
            "nope",
            [ONE],
            ("INVALID_ARGUMENT", "No signature was found with the name: nope"),
        ),
        (classify, "classify", [], ("INVALID_ARGUMENT", "Input is empty.")),
        (regress, "", [], ("INVALID_ARGUMENT", "Input is empty.")),
        (classify, "plain", [ONE], ("INVALID_ARGUMENT", "Expected one input Tensor.")),
        (regress, "plain", [ONE], ("INVALID_ARGUMENT", "Expected one input Tensor.")),
        (
            classify,
            "three",
            [ONE],
            ("INVALID_ARGUMENT", "Expected one or two output Tensors, found 3"),
        ),
        (regress, "classify", [ONE], ("INVALID_ARGUMENT", "Expected one output Tensor.")),
        (
            classify,
            "other_input",
            [ONE],
            (
                "INVALID_ARGUMENT",
                "No classification inputs found in SignatureDef: other_input of numbers/1",
            ),
        ),
        (
            regress,
            "other_input_one",
            [ONE],
            (
                "INVALID_ARGUMENT",
                "No regression inputs found in SignatureDef: other_input_one of numbers/1",
            ),
        ),
        (
            classify,
            "",
            [ONE],
            (
                "INVALID_ARGUMENT",
                'Expected classification signature outputs to contain at least one of "classes"',
            ),
        ),
        (
            regress,
            "other_output",
            [ONE],
            (
                "INVALID_ARGUMENT",
                "No regression outputs found in SignatureDef: other_output of numbers/1",
            ),
        ),
        (
            classify,
            "flat",
            [ONE],
            ("INVALID_ARGUMENT", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ),
        (
            classify,
            "mismatch",
            [ONE],
            (
                "INVALID_ARGUMENT",
                "Tensors class and score should match in dim_size(1). Got 3 vs. 2",
            ),
        ),
        (
            regress,
            "wide",
            [ONE, ONE],
            (
                "INVALID_ARGUMENT",
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]",
            ),
        ),
        (
            regress,
            "integers",
            [ONE],
            ("INVALID_ARGUMENT", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        ),
        (
            regress,
            "",
            [ONE, example(n=[1])],
            (
                "INVALID_ARGUMENT",
                "Name: <unknown>, Feature: x (data type: float) is required but could not be",
            ),
        ),
    ],
)
def test_refusals_are_tensorflow_servings(channel, function, signature_name, examples, refused):
    """Codes and messages are those of classifier.cc, regressor.cc and the example parser."""
    code, message = refusal(function, channel, "numbers", examples, signature_name)

    assert code == refused[0]
    assert message.startswith(refused[1])


def test_a_bad_picture_is_refused_by_its_index(channel, sample_images):
    """A picture that cannot be decoded fails its request; the message has its example's index."""
    good = example(image__raw=sample_images[0].tobytes())

    code, message = refusal(
        classify, channel, "pictures", [good, good, example(image__encoded=b"GIF89a...")]
    )

    assert code == "INVALID_ARGUMENT"
    assert message.startswith(
        "Name: <unknown>, Key: image/encoded, Index: 2.  neither a PNG nor a JPEG file"
    )


def test_garbage_for_examples_is_refused_by_predict(address):
    """Bytes that are not a tf.Example are quoted in TensorFlow's message."""
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("numbers", {"inputs": np.array([b"\xffgarbage"], object)})

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert r"Could not parse example input, value: '\xffgarbage'" in caught.value.message


def test_missing_model_spec_is_refused(channel):
    """A Classify request without a ModelSpec gets Predict's message."""
    request = ClassificationRequest()
    fill_input(request.input, [ONE])

    assert refusal(call, channel, "Classify", request, ClassificationResponse) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )


def test_predict_of_no_example_is_refused(address):
    """Predict with no example is refused with Classify's message."""
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("numbers", {"inputs": np.array([], object)})

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith("Input is empty. Expected at least one tf.Example")
