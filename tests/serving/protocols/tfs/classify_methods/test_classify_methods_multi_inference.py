"""Tests of MultiInference over gRPC: its tasks, and what it refuses."""

import grpc
import pytest
from calling.example_calls import CLASSIFY, ONE, REGRESS, multi_inference, refusal
from sample_models.example_models import example


@pytest.fixture(scope="module")
def channel(address):
    with grpc.insecure_channel(address) as opened:
        yield opened


def test_multi_inference_answers_each_task(channel):
    """MultiInference answers classification and regression tasks in the order of the tasks."""
    tasks = [("numbers", "classify", CLASSIFY), ("numbers", "", REGRESS)]

    response = multi_inference(channel, tasks, [ONE, example(x=[0.0, 0.0])])

    first, second = response.results
    assert first.WhichOneof("result") == "classification_result"
    assert [
        [(entry.label, entry.score) for entry in row.classes]
        for row in first.classification_result.classifications
    ] == [[("up", 8), ("down", -8)], [("up", 5), ("down", -5)]]
    assert [entry.value for entry in second.regression_result.regressions] == [8, 5]
    assert first.model_spec.signature_name == "classify"
    assert second.model_spec.signature_name == "serving_default"
    assert second.model_spec.version.value == 1


def test_multi_inference_runs_signatures_with_an_input_tensor_each(channel):
    """Tasks may run signatures with different input tensors; each signature gets the examples.

    TensorFlow 2's SavedModels have one placeholder a signature.
    """
    tasks = [("numbers", "elsewhere", REGRESS), ("numbers", "classify", CLASSIFY)]

    first, second = multi_inference(channel, tasks, [ONE, example(x=[0.0, 0.0])]).results

    assert [entry.value for entry in first.regression_result.regressions] == [8, 5]
    assert [
        [entry.score for entry in row.classes]
        for row in second.classification_result.classifications
    ] == [[8, -8], [5, -5]]


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [("numbers", "classify", CLASSIFY), ("pictures", "classify", CLASSIFY)],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("numbers", "", REGRESS), ("numbers", "serving_default", REGRESS)],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            [("numbers", "classify", CLASSIFY), ("", "", REGRESS)],
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("numbers", "nope", CLASSIFY)],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: nope",
        ),
        (
            [("numbers", "classify", "tensorflow/serving/predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("numbers", "classify", CLASSIFY), ("numbers", "other_output", REGRESS)],
            "INVALID_ARGUMENT",
            "No regression outputs found in SignatureDef: other_output of numbers/1",
        ),
        ([("absent", "", REGRESS)], "NOT_FOUND", "Servable not found for request: Latest(absent)"),
    ],
)
def test_multi_inference_refusals_are_tensorflow_servings(channel, tasks, code, message):
    """Codes and messages are those of multi_inference.cc."""
    received = refusal(multi_inference, channel, tasks)

    assert received[0] == code
    assert received[1].startswith(message)


def test_multi_inference_of_nothing_is_refused(channel):
    """MultiInference without examples is INVALID_ARGUMENT."""
    tasks = [("numbers", "classify", CLASSIFY)]

    assert refusal(multi_inference, channel, tasks, []) == ("INVALID_ARGUMENT", "Input is empty.")
