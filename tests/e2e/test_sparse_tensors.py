"""Sparse tensors in a SavedModel's signatures: as TensorFlow Serving has them."""

import grpc
import numpy as np
import pytest
import servers
import tensorflow as tf
import tensorflow_models
from rest_client import Http
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from serving.client import PredictClient, PredictError

X = np.float32([[1, 0, 2], [0, 0, 3.5]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A models folder."""
    folder = tmp_path_factory.mktemp("sparse")
    tensorflow_models.sparse_outputs(folder / "sparse" / "1")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """A server of it."""
    with servers.in_this_process(folder) as started:
        yield started


@pytest.mark.parametrize("outputs", [[], ["sparse"], ["total", "whole"]])
def test_a_sparse_output_is_refused(address, outputs):
    """INVALID_ARGUMENT in TensorFlow's words for a tensor without a name, and the way out."""
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("sparse", {"x": X}, outputs=outputs)

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(
        "Tensor :0, specified in either feed_devices or fetch_devices was not found in the Graph"
    )
    assert "output_filter" in caught.value.message


def test_the_words_are_tensorflows(folder):
    """The session of TensorFlow Serving is asked by a name that a sparse tensor does not have."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "sparse" / "1"))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"^Tensor :0, specified in"):
            session._make_callable_from_options(config_pb2.CallableOptions(fetch=[""]))


def test_the_dense_outputs_answer(address):
    """Over gRPC and KServe, to those who ask for them by name."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": X.tolist()}
    with PredictClient(address) as client:
        answer = client.predict("sparse", {"x": X}, outputs=["total"])
    asked = {"inputs": [tensor], "outputs": [{"name": "total"}]}
    status, inferred = Http(address).post("/v2/models/sparse/infer", asked)

    assert answer["total"].tolist() == [3, 3.5]
    assert (status, inferred["outputs"][0]["data"]) == (200, [3, 3.5])


def test_a_sparse_input_is_its_three_parts(address):
    """TensorFlow 2 writes it into the signature as indices, values and shape, which are dense."""
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
