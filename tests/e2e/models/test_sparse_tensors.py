"""Tests of sparse tensors in a SavedModel's signatures, as in TensorFlow Serving."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from calling.rest_client import Http
from running import servers
from sample_saved_models import tensorflow_models
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from serving.client import PredictClient, PredictError

X = np.float32([[1, 0, 2], [0, 0, 3.5]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a SavedModel with sparse tensors."""
    folder = tmp_path_factory.mktemp("sparse")
    tensorflow_models.sparse_outputs(folder / "sparse" / "1")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """Address of a server of this folder."""
    with servers.in_this_process(folder) as started:
        yield started


@pytest.mark.parametrize("outputs", [[], ["sparse"], ["total", "whole"]])
def test_a_sparse_output_is_refused(address, outputs):
    """A sparse output is INVALID_ARGUMENT with TensorFlow's message and the way out.

    The message is TensorFlow's for a tensor without a name.
    """
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("sparse", {"x": X}, outputs=outputs)

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(
        "Tensor :0, specified in either feed_devices or fetch_devices was not found in the Graph"
    )
    assert "output_filter" in caught.value.message


def test_the_words_are_tensorflows(folder):
    """TensorFlow's session has that message for "", the tensor name of a sparse output."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "sparse" / "1"))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"^Tensor :0, specified in"):
            session._make_callable_from_options(config_pb2.CallableOptions(fetch=[""]))


def test_the_dense_outputs_answer(address):
    """Dense outputs beside a sparse one answer over gRPC and KServe if the request names them."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": X.tolist()}
    with PredictClient(address) as client:
        answer = client.predict("sparse", {"x": X}, outputs=["total"])
    asked = {"inputs": [tensor], "outputs": [{"name": "total"}]}
    status, inferred = Http(address).post("/v2/models/sparse/infer", asked)

    assert answer["total"].tolist() == [3, 3.5]
    assert (status, inferred["outputs"][0]["data"]) == (200, [3, 3.5])


def test_a_sparse_input_is_its_three_parts(address):
    """A sparse input is sent as its dense parts: indices, values and shape.

    TensorFlow 2 writes these three parts into the signature.
    """
    parts = {"x": np.int64([[0, 1]]), "x_1": np.float32([2.5]), "x_2": np.int64([2, 3])}
    with PredictClient(address) as client:
        answer = client.predict("sparse", parts, signature_name="dense")

    assert answer["y"].tolist() == [[0, 2.5, 0], [0, 0, 0]]


def test_the_metadata_names_the_parts(address, folder):
    """GetModelMetadata has the SignatureDef as it was saved."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "sparse"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request, timeout=20).metadata["signature_def"]
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.Unpack(found)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "sparse" / "1"))

    wanted = graph.signature_def["serving_default"]
    assert wanted.outputs["sparse"].WhichOneof("encoding") == "coo_sparse"
    assert dict(found.signature_def["serving_default"].outputs) == dict(wanted.outputs)
