"""Tests of `--enable_signature_method_name_check`: calls must fit a signature's method name."""

import json

import grpc
import numpy as np
import pytest
from calling.raw_calls import refusal
from sample_models import arithmetic_models, example_models
from sample_models.example_models import example

from serving.client import PredictClient, PredictError, predict_request
from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    MultiInferenceRequest,
    RegressionRequest,
)
from serving.repository import publishing

SERVICE = "/tensorflow.serving.PredictionService"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def fill(request, signature_name: str):
    request.model_spec.name, request.model_spec.signature_name = "numbers", signature_name
    request.input.example_list.examples.append(Example.FromString(example(x=[1.0, 2.0])))
    return request.SerializeToString()


def inference(signature_name: str, method_name: str) -> bytes:
    request = MultiInferenceRequest()
    task = request.tasks.add(method_name=method_name)
    task.model_spec.name, task.model_spec.signature_name = "numbers", signature_name
    request.input.example_list.examples.append(Example.FromString(example(x=[1.0, 2.0])))
    return request.SerializeToString()


CALLS = [
    (
        "Classify",
        fill(ClassificationRequest(), "column"),
        f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
    ),
    (
        "Regress",
        fill(RegressionRequest(), "classify"),
        f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}",
    ),
    (
        "MultiInference",
        inference("classify", REGRESS),
        f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}",
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models with signatures of each method, and one with an unknown method name."""
    folder = tmp_path_factory.mktemp("models")
    example_models.numbers(folder)
    version = arithmetic_models.calculator(folder)
    file = version / "signature.json"
    publishing.replace_documents(
        version, {"signature.json": file.read_text().replace("serving/predict", "serving/other")}
    )
    assert "tensorflow/serving/other" in json.dumps(json.loads(file.read_text()))
    return folder


@pytest.fixture(scope="module")
def checking(models, running_server):
    """Address of a server that checks method names."""
    with running_server(models, enable_signature_method_name_check=True) as address:
        yield address


@pytest.mark.parametrize(("method", "body", "message"), CALLS)
def test_a_signature_of_another_method_is_refused(checking, method, body, message):
    """A signature of another method is INVALID_ARGUMENT, with TensorFlow Serving's message."""
    with grpc.insecure_channel(checking) as channel:
        code, details = refusal(channel, f"{SERVICE}/{method}", body)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == message


@pytest.mark.parametrize("calls", [1, 3])
def test_predict_refuses_a_method_that_is_none(checking, calls):
    """Predict on an unknown method name is INTERNAL, for the first request and templated ones."""
    with PredictClient(checking) as client:
        for _ in range(calls):
            with pytest.raises(PredictError) as caught:
                client.predict("calculator", {"x": np.array([2])})

    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert caught.value.message == (
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: tensorflow/serving/other"
    )


def test_other_calls_are_answered(checking):
    """With the flag, fitting calls are answered and unknown signatures refused as without it."""
    with grpc.insecure_channel(checking) as channel:
        body = fill(ClassificationRequest(), "classify")
        answer = channel.unary_unary(f"{SERVICE}/Classify")(body, timeout=30)
        code, details = refusal(
            channel,
            f"{SERVICE}/Predict",
            predict_request(
                "calculator", {"x": np.array([2])}, signature_name="x"
            ).SerializeToString(),
        )

    assert answer
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert 'Serving signature key "x" not found' in details


def test_without_the_flag_no_name_is_asked_for(models, running_server):
    """Without the flag, Predict answers on a signature with an unknown method name."""
    with running_server(models) as address, PredictClient(address) as client:
        answer = client.predict("calculator", {"x": np.array([2])})

    assert answer["y"].tolist() == [4]
