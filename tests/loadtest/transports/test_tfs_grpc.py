import pytest

from loadtest.transports import tfs_grpc
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse


def test_predict_requests_are_tensorflow_servings(split):
    """Model, version and pixels as tensor_content, parsed with the protocol's own message."""
    api = tfs_grpc.TfsGrpc("m", 3)

    request = PredictRequest.FromString(api.payload(split.images[:2]))

    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 3)
    assert request.inputs["images"].tensor_content == split.images[:2].tobytes()


def test_a_tensor_that_contradicts_itself_cannot_be_scored():
    """Content of the wrong length."""
    message = PredictResponse()
    message.outputs["classes"].dtype = 9
    message.outputs["classes"].tensor_content = b"123"

    with pytest.raises(ValueError, match="cannot be read"):
        tfs_grpc.TfsGrpc("m", None).parse(message.SerializeToString(), 1)
