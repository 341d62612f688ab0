import numpy as np

from loadtest.transports import kserve_grpc
from loadtest.transports.api import ModelInput
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse


def test_kserve_requests_carry_raw_contents(split):
    """A request has datatype and shape in its input and the pixels in raw_input_contents."""
    api = kserve_grpc.KserveGrpc("m", 3, (ModelInput("x", "float32", None),))

    request = ModelInferRequest.FromString(api.payload({"x": split.images[:2]}))

    (tensor,) = request.inputs
    assert (request.model_version, tensor.name, tensor.datatype) == ("3", "x", "FP32")
    assert list(tensor.shape) == [2, 32, 32, 3]
    pixels = np.frombuffer(request.raw_input_contents[0], np.float32)
    assert pixels.tolist() == split.images[:2].ravel().tolist()


def test_kserve_answers_in_typed_contents_are_read():
    """Answers with typed contents, from servers without raw contents, are read."""
    response = ModelInferResponse(model_version="7")
    output = response.outputs.add(name="classes", datatype="INT64", shape=[2])
    output.contents.int64_contents.extend([4, 2])

    answer = kserve_grpc.KserveGrpc("m", None).parse(response.SerializeToString(), 2)

    assert (answer.classes.tolist(), answer.version) == ([4, 2], 7)


def test_kserve_versions_that_are_no_numbers_are_unknown():
    """A version that is no number, which the protocol allows, is read as None."""
    response = ModelInferResponse(model_version="blue")
    response.outputs.add(name="classes", datatype="INT64", shape=[1])
    response.raw_output_contents.append(np.int64(3).tobytes())

    answer = kserve_grpc.KserveGrpc("m", None).parse(response.SerializeToString(), 1)

    assert (answer.classes.tolist(), answer.version) == ([3], None)
