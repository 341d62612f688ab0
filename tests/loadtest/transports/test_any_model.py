"""Requests for models of any inputs and dtypes, over every transport of a real server."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from sample_models import odd_models, tiny_models

from loadtest.rows.array_files import FileRows
from loadtest.rows.random_rows import RandomRows
from loadtest.settings.config import UsageError
from loadtest.transports.api import Answer, ModelInput, has_classes
from loadtest.transports.catalogue import DISCOVERIES, make_sender
from loadtest.transports.tfs_grpc import TfsGrpc
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.tensors import bfloat16

TRANSPORTS = sorted(DISCOVERIES)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, running_server):
    """Address of a server of `add`, `scalar`, `fixed` and an `echo` of every dtype."""
    folder = tmp_path_factory.mktemp("zoo")
    tiny_models.add(folder)
    odd_models.scalar(folder)
    odd_models.echo(folder, "FP32", "fixed", [4, 2])
    for datatype in tiny_models.ECHO_TYPES:
        tiny_models.echo(folder, datatype)
    with running_server(folder) as address:
        yield address


def ask(transport, target, model, source, row_ids, *, batch=None):
    """Return the rows of a source as the API sends them, and the server's answer to some."""

    async def main():
        api = await DISCOVERIES[transport](target, model, None, timeout_seconds=30)
        batch_of = len(row_ids) if batch is None else batch
        dataset = source.fit(api.inputs, model=model, batch=batch_of)
        sent = type(api)(model, None, dataset.inputs, reads_classes=False)
        sender = make_sender(
            transport, target, sent, connections=1, timeout_seconds=30, server_timing=False
        )
        try:
            body = await sender.lane(0)(sent.payload(dataset.batch(row_ids)))
        finally:
            await sender.close()
        return dataset, sent.parse(body, len(row_ids))

    return asyncio.run(main())


def only(answer: Answer) -> np.ndarray:
    (output,) = answer.outputs.values()
    return output


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_dtype_travels_both_ways(transport, zoo):
    """A model that returns its input returns the random rows that were sent, in their order."""
    for datatype in tiny_models.ECHO_TYPES:
        dataset, answer = ask(transport, zoo, f"echo_{datatype}", RandomRows(9, 1), [7, 2, 5])

        found, sent = only(answer), dataset.arrays["x"][[7, 2, 5]]
        if datatype == "BYTES":
            texts = [text if isinstance(text, bytes) else text.encode() for text in found.ravel()]
            assert texts == sent.ravel().tolist(), datatype
        else:
            assert found.shape == (3, 2), datatype
            assert np.allclose(found, sent.astype(found.dtype), atol=1e-6), datatype


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_several_inputs_travel_by_name(transport, zoo):
    """`add` gets its inputs by name: sum and difference are those of the rows sent."""
    rows = FileRows(Path("f"), {"b": np.array([1, 2, 3]), "a": np.array([10, 20, 30])})

    _, answer = ask(transport, zoo, "add", rows, [2, 0])

    assert {name: output.tolist() for name, output in answer.outputs.items()} == {
        "sum": [33, 11],
        "difference": [27, 9],
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_scalar_and_a_fixed_batch_are_sent_in_their_shapes(transport, zoo):
    """`scalar` takes no batch; `fixed` takes four rows in every request."""
    _, minus = ask(transport, zoo, "scalar", FileRows(Path("f"), {"x": np.array(2.5)}), [0])
    dataset, four = ask(transport, zoo, "fixed_FP32", RandomRows(8, 0), [4, 5, 6, 7])

    assert float(only(minus)) == -2.5
    assert np.allclose(only(four), dataset.arrays["x"][4:])


@pytest.mark.parametrize("transport", ["tfs-rest", "kserve-rest-binary", "kserve-grpc", "tfs-grpc"])
def test_bytes_that_are_no_text_are_sent_as_they_are(transport, zoo):
    """The server gets the bytes: ONNX models take text alone, and its refusal names the byte."""
    rows = np.array([[b"\xff\0", b"a"]], object)

    with pytest.raises(Exception, match="can't decode byte 0xff in position 0"):
        ask(transport, zoo, "echo_BYTES", FileRows(Path("f"), {"x": rows}), [0])


def test_what_an_api_cannot_carry_is_refused(zoo):
    """JSON of KServe has no bytes, and only TensorFlow Serving's gRPC has complex numbers."""
    rows = FileRows(Path("f"), {"x": np.array([[b"\xff\0", b"a"]], object)})
    with pytest.raises(UsageError, match="kserve-rest-binary"):
        ask("kserve-rest", zoo, "echo_BYTES", rows, [0])
    for transport in set(TRANSPORTS) - {"tfs-grpc"}:
        api = asyncio.run(DISCOVERIES[transport](zoo, "add", None, timeout_seconds=30))
        with pytest.raises(UsageError, match="tfs-grpc"):
            api.payload({"x": np.ones(2, np.complex64)})


def test_bfloat16_is_rounded_when_it_is_sent():
    """Rows of bfloat16 are float32 until the request is made."""
    api = TfsGrpc("m", None, (ModelInput("x", "bfloat16", (-1,)),))

    tensor = PredictRequest.FromString(api.payload({"x": np.array([1.0, 1.00001], np.float32)}))

    content = np.frombuffer(tensor.inputs["x"].tensor_content, bfloat16.BFLOAT16)
    assert bfloat16.to_floats(content).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"classes": np.array([1, 2])}, True),
        ({"classes": np.array([1, 2, 3])}, False),
        ({"logits": np.array([[5.0, -3], [1, 2]])}, True),
        ({"y": np.array([[0.25, 0.75], [1, 0]])}, True),
        ({"y": np.array([[0.25, 0.5], [1, 0]])}, False),
        ({"y": np.array([[1.5, -0.5], [1, 0]])}, False),
        ({"y": np.array([[1.0], [1]])}, False),
        ({"label": np.array([1, 2])}, False),
        ({}, False),
    ],
)
def test_a_classifier_is_told_by_names_and_values(outputs, expected):
    """Integer classes, scores with a name that says so, or rows that sum to 1."""
    assert has_classes(outputs, 2) is expected
