"""Tests that templates and prepared bytes are read and written exactly as protobuf does."""

import gc
import random

import grpc
import numpy as np
import pytest
from calling import polite_clients
from calling.raw_calls import refusal
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.client import PREDICT_PATH, predict_request
from serving.engine.batching.request_queue import Group
from serving.errors import InvalidInput
from serving.protocols import message_templates
from serving.protocols.message_templates import AcceptedKind
from serving.protocols.tfs import tensor_proto
from serving.protocols.tfs.predict_messages import (
    RequestReader,
    TemplatedPredict,
    encode_response,
)
from serving.protos.nested_fields import find_nested
from serving.protos.tensorflow_pb2 import TensorProto
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse
from serving.tensors.signature import DataType

DTYPES = [np.float32, np.float64, np.float16, np.uint8, np.int8, np.int16, np.int32, np.int64]
DTYPES += [np.uint16, np.uint32, np.uint64, np.bool_, np.complex64, np.complex128]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
aliases = st.text(max_size=8)


def _same(one, other):
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def _request(array, alias="images", model="m", **spec):
    request = predict_request(model, {alias: array})
    for name, value in spec.items():
        if name == "version":
            request.model_spec.version.value = value
        elif name == "output_filter":
            request.output_filter.extend(value)
        else:
            setattr(request.model_spec, name, value)
    return request


def _read_thrice(reader, message):
    return [reader.read(message) for _ in range(3)][-1]


@given(array=arrays, alias=aliases, model=aliases, data=st.data())
@settings(deadline=None)
def test_templated_requests_are_what_protobuf_reads(array, alias, model, data):
    """A request read by a template has the model spec and the array that protobuf reads."""
    reader = RequestReader()
    _read_thrice(reader, _request(array, alias, model, version=3).SerializeToString())
    other = data.draw(hnp.arrays(array.dtype, array.shape))
    message = _request(other, alias, model, version=3).SerializeToString()

    read = reader.read(message)

    expected = PredictRequest.FromString(message)
    assert read.model_spec == expected.model_spec
    if isinstance(read, TemplatedPredict):
        assert read.template.alias == alias
        assert _same(read.array, tensor_proto.decode(expected.inputs[alias]))
    else:
        assert read == expected


@given(st.binary(min_size=60, max_size=60), st.data())
@settings(deadline=None)
def test_any_change_of_a_byte_is_read_as_protobuf_reads_it(elements, data):
    """A changed byte anywhere in a request is never hidden by a template: protobuf agrees."""
    reader = RequestReader()
    array = np.frombuffer(elements, np.uint8).reshape(1, 60)
    message = _request(array, version=3, output_filter=["a"]).SerializeToString()
    assert isinstance(_read_thrice(reader, message), TemplatedPredict)
    position = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[position] = data.draw(st.integers(0, 255))

    try:
        expected = PredictRequest.FromString(bytes(changed))
    except DecodeError:
        with pytest.raises(DecodeError):
            reader.read(bytes(changed))
        return
    read = reader.read(bytes(changed))

    if isinstance(read, TemplatedPredict):
        assert read.model_spec == expected.model_spec
        assert list(read.template.output_filter) == list(expected.output_filter)
        assert list(expected.inputs) == [read.template.alias]
        assert _same(read.array, tensor_proto.decode(expected.inputs[read.template.alias]))
    else:
        assert read == expected


def test_second_request_of_a_length_makes_the_template():
    """The third request of one length is read by a template.

    The first two go through protobuf, so that a length that does not repeat costs nothing more.
    """
    reader = RequestReader()
    message = _request(np.ones((1, 3), np.float32)).SerializeToString()

    kinds = [type(reader.read(message)) for _ in range(3)]

    assert kinds == [PredictRequest, PredictRequest, TemplatedPredict]


def test_requests_of_one_length_for_two_models_are_told_apart():
    """Requests of equal length for two models are read by a template for each model."""
    reader = RequestReader()
    messages = {
        model: _request(np.ones((1, 3), np.float32), model=model).SerializeToString()
        for model in ("one", "two")
    }
    for _ in range(3):
        read = {model: reader.read(message) for model, message in messages.items()}

    assert {model: request.template.spec.name for model, request in read.items()} == {
        "one": "one",
        "two": "two",
    }


@pytest.mark.parametrize("fill", [0, 1, 10, 0x22, 255])
def test_elements_that_look_like_the_rest_of_the_message_are_told_from_it(fill):
    """Elements whose bytes also occur elsewhere in the message are read correctly."""
    for size in range(1, 12):
        reader = RequestReader()
        array = np.full((1, size), fill, np.uint8)
        _read_thrice(reader, _request(array).SerializeToString())
        other = np.arange(size, dtype=np.uint8)[None] + 100
        message = _request(other).SerializeToString()

        read = reader.read(message)

        got = (
            read.array
            if isinstance(read, TemplatedPredict)
            else tensor_proto.decode(read.inputs["images"])
        )
        assert _same(got, other)


@pytest.mark.parametrize(
    ("array", "alias", "model"),
    [
        (np.frombuffer(b"abcdefgh", np.uint8), "abcdefgh", "m"),
        (np.frombuffer(b"abcdefgh", np.uint8), "images", "abcdefgh"),
        (np.zeros(4, np.uint8), "images", "m"),
        (np.frombuffer(b"\x08", np.uint8), "images", "m"),
    ],
)
def test_bytes_that_only_look_like_the_elements_are_found_out(array, alias, model):
    """Of all places with the bytes of the elements, only the elements' own place is accepted."""
    request = _request(array, alias, model, version=0)
    request.model_spec.signature_name = "\0\0\0\0"
    message, content = request.SerializeToString(), array.tobytes()
    places = [
        start for start in range(len(message)) if message[start : start + len(content)] == content
    ]

    proven = [
        start
        for start in places
        if RequestReader()._are_the_elements(request, message, start, start + len(content))
    ]

    assert len(places) > 1
    assert len(proven) == 1
    assert proven == [find_nested(message, RequestReader.path_to_elements)[0]]


def test_no_template_is_made_of_bytes_that_are_not_the_elements(monkeypatch):
    """If the elements are looked up at a wrong place, no template is made; protobuf reads on."""
    alias, array = "abcdefgh", np.frombuffer(b"abcdefgh", np.uint8)
    message = _request(array, alias).SerializeToString()
    start = message.index(b"abcdefgh")
    monkeypatch.setattr(message_templates, "find_nested", lambda *_: (start, start + 8))
    reader = RequestReader()

    assert isinstance(_read_thrice(reader, message), PredictRequest)


def test_elements_are_aligned_for_their_dtype():
    """The array read by a template is aligned, whatever the length of the model's name."""
    for length in range(1, 9):
        reader = RequestReader()
        message = _request(np.ones((2, 5), np.float64), model="m" * length).SerializeToString()

        read = _read_thrice(reader, message)

        assert read.array.flags.aligned


def test_malformed_tensors_are_left_to_protobuf_and_the_codec():
    """A request that the codec refuses never becomes a template, so the refusal stays the same."""
    reader = RequestReader()
    request = _request(np.ones((1, 3), np.float32))
    request.inputs["images"].tensor_shape.dim[0].size = 7

    read = _read_thrice(reader, request.SerializeToString())

    assert isinstance(read, PredictRequest)
    with pytest.raises(InvalidInput, match="tensor_content has 12 bytes"):
        tensor_proto.decode(read.inputs["images"])


@pytest.mark.parametrize("inputs", [0, 2])
def test_requests_with_other_than_one_input_are_left_to_protobuf(inputs):
    """A request with no input or several inputs gets no template."""
    reader = RequestReader()
    message = predict_request(
        "m", {f"x{number}": np.ones((1, 3), np.float32) for number in range(inputs)}
    ).SerializeToString()

    assert isinstance(_read_thrice(reader, message), PredictRequest)


def test_templates_are_bounded():
    """At most _MAX_TEMPLATES templates are kept; new kinds of requests replace old ones."""
    reader = RequestReader()
    for number in range(3000):
        array = np.zeros((1, 1 + number % 1500), np.uint8)
        message = _request(array, model=f"{number % 7}").SerializeToString()
        _read_thrice(reader, message)
    kept = sum(len(templates) for templates in reader._templates.values())

    assert 0 < kept <= message_templates._MAX_TEMPLATES
    assert len(reader._seen) <= message_templates._MAX_TEMPLATES


def test_template_forgets_a_servable_that_is_gone():
    """A template does not keep an unloaded servable in memory, nor accept another servable."""

    class Servable:
        pass

    reader = RequestReader()
    template = _read_thrice(
        reader, _request(np.ones((1, 3), np.float32)).SerializeToString()
    ).template
    servable, successor = Servable(), Servable()
    kind = AcceptedKind(Group("serving_default", ("y",), ((3,),)), rows=1)
    template.accept(servable, kind)
    assert template.accepted_by(servable) is kind
    assert template.accepted_by(successor) is None
    del servable
    gc.collect()

    assert template._servable() is None


outputs = st.dictionaries(aliases, arrays, max_size=3)


@given(outputs=outputs, as_content=st.booleans(), version=st.integers(0, 2**40))
@settings(deadline=None)
def test_responses_are_what_protobuf_writes(outputs, as_content, version):
    """A response with any outputs equals protobuf's, in typed fields or as tensor_content."""
    expected = PredictResponse()
    expected.model_spec.name = "m"
    expected.model_spec.version.value = version
    expected.model_spec.signature_name = "serving_default"
    for alias, array in outputs.items():
        tensor_proto.encode(array, expected.outputs[alias], as_content=as_content)

    encoded = encode_response("m", version, "serving_default", outputs, as_content=as_content)

    # The messages are compared serialized, because NaN is not equal to itself.
    received = PredictResponse.FromString(encoded.SerializeToString())
    assert received.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )
    # Beside the bytes, for those who count and trace requests.
    assert (encoded.model, encoded.version) == ("m", version)
    assert encoded.signature_name == "serving_default"


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 2])
def test_long_outputs_are_what_protobuf_writes(dtype, as_content, step):
    """Long outputs equal protobuf's, whether their array is contiguous or not."""
    array = np.random.default_rng(0).standard_normal((100, 400)).astype(dtype)[:, ::step]
    expected = PredictResponse()
    tensor_proto.encode(array, expected.outputs["y"], as_content=as_content)

    encoded = encode_response("m", 1, "s", {"y": array}, as_content=as_content)

    received = PredictResponse.FromString(encoded.SerializeToString())
    assert received.outputs["y"] == expected.outputs["y"]


def test_responses_of_strings_and_large_numbers():
    """Strings and int64, whose encoded size depends on the value, are written correctly."""
    outputs = {
        "labels": np.array([[b"cat", b"dog"]], object),
        "ids": np.array([1, 127, 128, -1, 2**40], np.int64),
    }

    encoded = encode_response("m", 1, "s", outputs)

    received = PredictResponse.FromString(encoded.payload)
    assert tensor_proto.decode(received.outputs["labels"]).tolist() == [[b"cat", b"dog"]]
    assert tensor_proto.decode(received.outputs["ids"]).tolist() == [1, 127, 128, -1, 2**40]


def test_response_of_an_unknown_dtype_is_refused():
    """An output of a dtype without a tensor type is refused with InvalidInput."""
    with pytest.raises(InvalidInput, match="datetime64"):
        encode_response("m", 1, "s", {"x": np.zeros(2, "datetime64[s]")})


def test_random_bytes_are_read_as_protobuf_reads_them():
    """Random bytes of a template's length are read, or refused, as by protobuf."""
    reader = RequestReader()
    message = _request(np.ones((1, 3), np.float32)).SerializeToString()
    _read_thrice(reader, message)
    source = random.Random(0)
    for _ in range(2000):
        garbage = bytearray(message)
        for _ in range(source.randint(1, 4)):
            garbage[source.randrange(len(garbage))] = source.randrange(256)
        try:
            expected = PredictRequest.FromString(bytes(garbage))
        except DecodeError:
            with pytest.raises(DecodeError):
                reader.read(bytes(garbage))
            continue
        read = reader.read(bytes(garbage))
        assert read.model_spec == expected.model_spec


def test_a_message_is_not_searched_for_its_elements(models_dir):
    """Elements whose bytes nearly occur throughout the message do not delay other callers."""
    size = 1 << 18
    content = bytes(size // 2) + b"a" + bytes(size // 2 - 1)
    tensor = TensorProto(dtype=DataType.DT_UINT8, tensor_content=content)
    tensor.tensor_shape.dim.add().size = size
    # The bytes after the elements equal the elements, except for the byte in their middle.
    request = PredictRequest(output_filter=["\0" * (3 * size)])
    request.model_spec.name = "none"
    request.inputs["x"].CopyFrom(tensor)
    body = request.SerializeToString()
    with (
        polite_clients.server(models_dir) as (address, _),
        polite_clients.beside(address) as polite,
        grpc.insecure_channel(address) as channel,
    ):
        answers = [refusal(channel, PREDICT_PATH, body) for _ in range(6)]

    assert {code for code, _ in answers} == {grpc.StatusCode.NOT_FOUND}
    assert not polite.errors


def test_a_model_spec_of_megabytes_is_refused_unread():
    """A ModelSpec of megabytes is refused: its name would be copied into every message."""
    request = PredictRequest()
    request.model_spec.name = "a" * (2 << 20)

    with pytest.raises(InvalidInput, match=r"ModelSpec has 20971\d+ bytes, expected at most 65536"):
        RequestReader().read(request.SerializeToString())
