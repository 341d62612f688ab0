"""Tests of GetModelMetadata and GetModelStatus on each front."""

import grpc
import pytest
from calling.raw_calls import refusal
from calling.rest_client import Http
from sample_models import odd_models

from serving.client import PredictClient
from serving.engine.catalog import State
from serving.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
)


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


def test_metadata_lists_the_signatures(client):
    """Metadata has aliases, dtypes, shapes and the SavedModel's tensor names."""
    signature = client.signatures("brightness").signature_def["serving_default"]

    images = signature.inputs["images"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert (images.name, images.dtype) == ("serving_default_images:0", 4)
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 32, 32, 3]
    assert sorted(signature.outputs) == ["classes", "probabilities"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_fields_are_checked(channel, fields, message):
    """No metadata field, or an unknown one, is refused with TensorFlow Serving's message."""
    request = GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "identity"

    answer = refusal(
        channel,
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        request.SerializeToString(),
    )

    assert answer == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_metadata_of_no_model_is_refused_before_its_fields_are_looked_at(channel):
    """A missing model spec is reported before a wrong metadata field, as in TensorFlow Serving."""
    request = GetModelMetadataRequest(metadata_field=["weights"])

    assert refusal(
        channel,
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        request.SerializeToString(),
    ) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def test_status_tells_the_state_of_each_version(client):
    """A loaded version is AVAILABLE without an error."""
    (status,) = client.statuses("identity")

    assert (status.version, status.state) == (1, State.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("nope", None, "Could not find any versions of model nope"),
        ("identity", 7, "Could not find version 7 of model identity"),
    ],
)
def test_status_of_the_unknown_is_not_found(channel, name, version, message):
    """GetModelStatus of an unknown model or version is NOT_FOUND, as in TensorFlow Serving."""
    request = GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version

    answer = refusal(
        channel, "/tensorflow.serving.ModelService/GetModelStatus", request.SerializeToString()
    )

    assert answer == (grpc.StatusCode.NOT_FOUND, message)


def test_metadata_tells_an_unknown_rank_from_a_scalar(tmp_path, running_server):
    """Metadata over gRPC and REST has unknown_rank for unknown ranks and no dims for scalars."""
    odd_models.any_rank(tmp_path)
    odd_models.scalar(tmp_path)
    shapes = {}
    with running_server(tmp_path) as address, PredictClient(address) as connected:
        for name in ("any_rank", "scalar"):
            signature = connected.signatures(name).signature_def["serving_default"]
            _, answer = Http(address).get(f"/v1/models/{name}/metadata")
            json_signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
            grpc_shape = signature.inputs["x"].tensor_shape
            shapes[name] = (
                signature.inputs["x"].HasField("tensor_shape"),
                (grpc_shape.unknown_rank, len(grpc_shape.dim)),
                json_signature["inputs"]["x"]["tensor_shape"],
            )

    assert shapes == {
        "any_rank": (True, (True, 0), {"dim": [], "unknown_rank": True}),
        "scalar": (True, (False, 0), {"dim": [], "unknown_rank": False}),
    }
