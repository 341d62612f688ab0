"""Triton's classification extension, on arrays and against a server."""

from types import SimpleNamespace

import numpy as np
import pytest
from calling.kserve_connection import CONTENT, INFER, X
from running.kserve_stub import infer_request, raw_answers, typed_answers
from sample_models import tiny_models

from serving.errors import InvalidInput
from serving.inference.request import Prediction
from serving.protocols.kserve.classification import classified

BRIGHT = np.full((2, 32, 32, 3), 255, np.uint8)


def best(array, count, *, names=(), batched=True):
    """Return an output as its best classes, as a list of texts."""
    servable = SimpleNamespace(batched={"s": batched}, class_names=names)
    outputs = {"y": array, "z": np.zeros(1, np.float32)}
    answer = classified(
        Prediction(servable=servable, signature_name="s", outputs=outputs), {"y": count}
    )
    assert answer.outputs["z"] is outputs["z"]
    return answer.outputs["y"]


@pytest.mark.parametrize(
    ("array", "settings", "texts"),
    [
        (np.array([[1, 5, 10, 4]]), {}, [[b"10:2", b"5:1"]]),
        (np.array([[3, 7, 7, 7]], np.uint8), {}, [[b"7:1", b"7:2"]]),
        (np.array([[0, 2**64 - 1]], np.uint64), {}, [[b"18446744073709551615:1", b"0:0"]]),
        (np.array([[-1, -128]], np.int8), {}, [[b"-1:0", b"-128:1"]]),
        (np.array([[0.25, 0.5], [1, -1]], np.float32), {}, None),
        (np.array([[0.1]], np.float16), {}, [[b"0.099976:0"]]),
        (
            np.array([[0.0, 1e3]]),
            {"names": ("a", "b")},
            [[b"1000.000000:1:b", b"0.000000:0:a"]],
        ),
        (np.array([[0.0, 1.0]]), {"names": ("a", "b", "c")}, [[b"1.000000:1", b"0.000000:0"]]),
        (np.array([[[1, 2], [4, 3]]]), {}, [[b"4:2", b"3:3"]]),
        (np.array([[1, 2], [4, 3]]), {"batched": False}, [b"4:2", b"3:3"]),
        (np.array(5), {}, [b"5:0"]),
        (np.zeros((0, 3)), {}, []),
    ],
)
def test_the_best_classes_come_first(array, settings, texts):
    """Each row becomes its greatest values, equal ones in the order of their indices."""
    answer = best(array, 2, **settings)

    expected = texts or [
        [b"0.500000:1", b"0.250000:0"],
        [b"1.000000:0", b"-1.000000:1"],
    ]
    assert answer.dtype == object
    assert answer.tolist() == (texts if texts == [] else expected)


@pytest.mark.parametrize(
    ("array", "count", "message"),
    [
        (np.array([["a"]], object), 1, 'output "y" has object, expected numbers'),
        (np.array([[True]]), 1, 'output "y" has bool, expected numbers'),
        (np.zeros((1, 1_000_001)), 1, "expected at most 1000000 values"),
        (np.zeros((1, 100_001)), 100_001, "and 100001 classes of each are asked for"),
    ],
)
def test_outputs_without_few_numbers_are_refused(array, count, message):
    """An output that cannot be ranked, or only at the cost of other callers, is refused."""
    with pytest.raises(InvalidInput, match=message):
        best(array, count)


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_answers_class_names(stub, raw):
    """A request over gRPC gets the classes in the form of its inputs; other outputs stay."""
    request = infer_request("brightness", BRIGHT, names=["images"], raw=raw)
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    request.outputs.add(name="classes").parameters["classification"].int64_param = 0

    response = stub.send("ModelInfer", request)

    answers = (raw_answers if raw else typed_answers)(response)
    assert answers["probabilities"].tolist() == [[b"1.000000:1:bright"]] * 2
    assert [(one.datatype, list(one.shape)) for one in response.outputs] == [
        ("BYTES", [2, 1]),
        ("INT64", [2]),
    ]
    assert answers["classes"].tolist() == [1, 1]


def test_rest_answers_classes(connection):
    """A request over HTTP gets the classes in JSON, and as binary data if it asks for that."""
    asked = {"name": "y", "parameters": {"classification": 2}}
    binary = {"name": "y", "parameters": {"classification": 2, "binary_data": True}}
    status, answer = connection.post(INFER, {"inputs": [X], "outputs": [asked]})
    _, _, content = connection.post_binary(INFER, {"inputs": [X], "outputs": [binary]}, b"")

    assert status == 200
    (output,) = answer["outputs"]
    assert output == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [1, 2],
        "data": ["3.000000:2", "2.000000:1"],
    }
    lengths = (10).to_bytes(4, "little")
    assert content == lengths + b"3.000000:2" + lengths + b"2.000000:1"
    assert len(CONTENT) == 12
    assert tiny_models.CLASS_NAMES == ("dark", "bright")
