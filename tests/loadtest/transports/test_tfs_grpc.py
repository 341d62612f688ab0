import pytest

from loadtest.transports import tfs_grpc
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse


def test_predict_requests_are_tensorflow_servings(split):
    """A request, parsed as PredictRequest, has model, version and pixels in tensor_content."""
    api = tfs_grpc.TfsGrpc("m", 3)

    request = PredictRequest.FromString(api.payload({"images": split.images[:2]}))

    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 3)
    assert request.inputs["images"].tensor_content == split.images[:2].tobytes()


def test_a_tensor_that_contradicts_itself_cannot_be_scored():
    """A tensor whose content has the wrong length raises ValueError."""
    message = PredictResponse()
    message.outputs["classes"].dtype = 9
    message.outputs["classes"].tensor_content = b"123"

    with pytest.raises(ValueError, match="cannot be read"):
        tfs_grpc.TfsGrpc("m", None).parse(message.SerializeToString(), 1)
