"""Tests that templates and prepared bytes of ModelInfer are read and written as protobuf does."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from running.kserve_stub import X, infer_request, raw_answers

from serving.protocols.kserve import tensor_bytes
from serving.protocols.kserve.infer_messages import (
    InferReader,
    TemplatedInfer,
    encode_raw_response,
)
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse
from serving.tensors.signature import DataType

DTYPES = [np.float32, np.float64, np.float16, np.uint8, np.int8, np.int16, np.int32, np.int64]
DTYPES += [np.uint16, np.uint32, np.uint64, np.bool_]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
PIXELS = np.arange(60, dtype=np.uint8).reshape(1, 60)


def _request(array: np.ndarray, **fields) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m", **fields)
    datatype = tensor_bytes.datatype_of(DataType.from_numpy(array.dtype))
    request.inputs.add(name="images", datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(tensor_bytes.encode_raw(array))
    return request


def _read_thrice(reader: InferReader, request: ModelInferRequest):
    message = request.SerializeToString()
    return [reader.read(message) for _ in range(3)][-1]


@given(array=arrays, data=st.data())
@settings(deadline=None)
def test_templated_requests_are_what_protobuf_reads(array, data):
    """A request read by a template has the array that the codec decodes."""
    reader = InferReader()
    _read_thrice(reader, _request(array, model_version="3", id="a"))
    other = data.draw(hnp.arrays(array.dtype, array.shape))

    read = reader.read(_request(other, model_version="3", id="a").SerializeToString())

    assert (read.model_name, read.model_version, read.id) == ("m", "3", "a")
    if isinstance(read, TemplatedInfer):
        assert (read.array.dtype, read.array.shape) == (other.dtype, other.shape)
        assert read.array.tobytes() == other.tobytes()
    else:
        assert array.dtype == bool or not array.size


@given(st.data())
@settings(deadline=None)
def test_any_change_of_a_byte_is_read_as_protobuf_reads_it(data):
    """A changed byte anywhere in a request is never hidden by a template: protobuf agrees."""
    reader = InferReader()
    request = _request(PIXELS, model_version="3", id="abc")
    request.outputs.add(name="y")
    assert isinstance(_read_thrice(reader, request), TemplatedInfer)
    changed = bytearray(request.SerializeToString())
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    try:
        expected = ModelInferRequest.FromString(bytes(changed))
    except DecodeError:
        with pytest.raises(DecodeError):
            reader.read(bytes(changed))
        return
    read = reader.read(bytes(changed))

    if isinstance(read, TemplatedInfer):
        kept = ModelInferRequest()
        kept.CopyFrom(read.template.request)
        kept.raw_input_contents[0] = read.array.tobytes()
        assert kept == expected
    else:
        assert read == expected


def _with_parameter(request: ModelInferRequest) -> None:
    request.parameters["sequence_id"].int64_param = 1


def _with_input_parameter(request: ModelInferRequest) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"


def _with_classification(request: ModelInferRequest) -> None:
    request.outputs.add(name="y").parameters["classification"].int64_param = 1


def _with_bad_version(request: ModelInferRequest) -> None:
    request.model_version = "newest"


def _with_wrong_shape(request: ModelInferRequest) -> None:
    request.inputs[0].shape[0] = 7


def _with_second_input(request: ModelInferRequest) -> None:
    request.inputs.add(name="more", datatype="UINT8", shape=[0])


@pytest.mark.parametrize(
    "change",
    [
        _with_parameter,
        _with_input_parameter,
        _with_classification,
        _with_bad_version,
        _with_wrong_shape,
        _with_second_input,
    ],
)
def test_requests_that_need_more_checks_get_no_template(change):
    """Requests with parameters, and those that the checks refuse, are left to protobuf."""
    request = _request(PIXELS)
    change(request)

    read = _read_thrice(InferReader(), request)

    assert read == request


def test_text_gets_no_template():
    """BYTES have no fixed length: protobuf reads them."""
    request = _request(np.array([b"abc"], object))

    assert _read_thrice(InferReader(), request) == request


@given(outputs=st.lists(arrays, max_size=3), identity=st.text(max_size=3))
@settings(deadline=None)
def test_raw_answers_are_the_bytes_that_protobuf_writes(outputs, identity):
    """A raw answer is the message that protobuf serializes, byte by byte."""
    named = {f"y{number}": array for number, array in enumerate(outputs)}
    named["text"] = np.array([b"a", b""], object)
    named["turned"] = np.arange(6, dtype=">i4").reshape(2, 3).T
    expected = ModelInferResponse(model_name="m", model_version="2", id=identity)
    for alias, array in named.items():
        datatype = tensor_bytes.datatype_of(DataType.from_numpy(array.dtype))
        expected.outputs.add(name=alias, datatype=datatype, shape=array.shape)
        expected.raw_output_contents.append(tensor_bytes.encode_raw(array))

    response = encode_raw_response("m", 2, identity, named)

    assert response.SerializeToString() == expected.SerializeToString()


def test_answers_stay_the_same_once_a_template_reads_the_requests(stub):
    """Requests that a template reads are answered as the first ones, which protobuf reads."""
    request = infer_request("identity", X, id="seven")

    answers = [stub.send("ModelInfer", request) for _ in range(4)]

    assert answers == [answers[0]] * 4
    assert answers[3].id == "seven"
    assert np.array_equal(raw_answers(answers[3])["y"], X)


def test_refusals_stay_the_same_once_a_template_reads_the_requests(stub):
    """A request for a model that is not served gets the same error, however it is read."""
    request = _request(PIXELS, model_version="7")

    refusals = [stub.refusal("ModelInfer", request) for _ in range(4)]

    assert refusals == [refusals[0]] * 4
    assert refusals[0][0] == "NOT_FOUND"
    assert refusals[0][1].startswith("Request for unknown model: 'm' version 7 is not found; ")
