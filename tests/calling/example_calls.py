"""Classify, Regress and MultiInference calls with tf.Examples over gRPC, and their refusals."""

import grpc
import pytest
from sample_models.example_models import example

from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
)

SERVICE = "/tensorflow.serving.PredictionService"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
ONE = example(x=[1.0, 2.0])


def call(channel, method, request, response_type):
    body = channel.unary_unary(f"{SERVICE}/{method}")(request.SerializeToString(), timeout=30)
    return response_type.FromString(body)


def classify(channel, model, examples, signature_name="classify", context=None):
    request = ClassificationRequest()
    fill(request, model, examples, signature_name, context)
    return call(channel, "Classify", request, ClassificationResponse)


def regress(channel, model, examples, signature_name="", context=None):
    request = RegressionRequest()
    fill(request, model, examples, signature_name, context)
    return call(channel, "Regress", request, RegressionResponse)


def fill(request, model, examples, signature_name, context):
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    fill_input(request.input, examples, context)


def fill_input(message, examples, context=None):
    parsed = [Example.FromString(serialized) for serialized in examples]
    if context is None:
        message.example_list.examples.extend(parsed)
    else:
        message.example_list_with_context.examples.extend(parsed)
        message.example_list_with_context.context.ParseFromString(context)


def multi_inference(channel, tasks, examples=(ONE,)):
    """Send a MultiInference request of tasks (model, signature name, method name)."""
    request = MultiInferenceRequest()
    for model, signature_name, method_name in tasks:
        task = request.tasks.add(method_name=method_name)
        task.model_spec.name = model
        task.model_spec.signature_name = signature_name
    fill_input(request.input, examples)
    return call(channel, "MultiInference", request, MultiInferenceResponse)


def refusal(function, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        function(*arguments, **options)
    return caught.value.code().name, caught.value.details()
