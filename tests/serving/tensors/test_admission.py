import json
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import numpy as np
import pytest
from calling import polite_clients
from calling.raw_calls import refusal
from calling.rest_client import Http

from serving.client import PREDICT_PATH
from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protos.kserve_pb2 import ModelInferRequest
from serving.protos.tensorflow_pb2 import TensorProto, TensorShapeProto
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.tensors.admission import TensorAdmission
from serving.tensors.signature import DataType

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
MEBIBYTE = 1 << 20


class Account:
    """Records the numbers it is asked for."""

    caller = None

    def __init__(self) -> None:
        self.taken = []

    def take(self, count):
        """Record a number of bytes."""
        self.taken.append(count)


def proto(shape, data_type=DataType.DT_UINT8, **values) -> TensorProto:
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    return TensorProto(dtype=data_type, tensor_shape=TensorShapeProto(dim=dims), **values)


def predict(model: str, alias: str, tensor: TensorProto) -> bytes:
    request = PredictRequest()
    request.model_spec.name = model
    request.inputs[alias].CopyFrom(tensor)
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (proto((7, 5), int_val=[3]), 3),
        (proto((7, 5)), 0),
        (proto((7, 5), DataType.DT_FLOAT, float_val=[1.5]), 1.5),
        (proto((7, 5), DataType.DT_COMPLEX64, scomplex_val=[1, 2]), 1 + 2j),
        (proto((7, 5), DataType.DT_STRING, string_val=[b"a"]), b"a"),
        (proto((7, 5), DataType.DT_STRING), b""),
        (proto((7, 0)), 0),
    ],
    ids=["one", "none", "float", "complex", "string", "no string", "empty"],
)
def test_repeated_values_take_the_memory_of_one(tensor, value):
    """A tensor with one repeated value decodes to a strided view of a single element.

    The values are written out only when a model needs them.
    """
    account = Account()
    array = tensor_proto.decode(tensor, TensorAdmission(account, None).admit)

    assert (array == np.full(array.shape, value, array.dtype)).all()
    assert not array.size or set(array.strides) == {0}
    assert account.taken == [array.nbytes]


@pytest.mark.parametrize("rows", [0, 1, 10])
def test_rows_up_to_the_limit_are_admitted(rows):
    """Up to `max_rows` rows are admitted; a scalar has no rows, and None admits any number."""
    TensorAdmission(None, 10).admit((rows, 3), DataType.DT_FLOAT)
    TensorAdmission(None, 10).admit((), DataType.DT_FLOAT)
    TensorAdmission(None, None).admit((11,), DataType.DT_FLOAT)

    with pytest.raises(
        InvalidInput, match=r"11 rows, expected at most 10 per request; .*_rows_per_r"
    ):
        TensorAdmission(None, 10).admit((11, 3), DataType.DT_FLOAT)


@pytest.fixture(scope="module")
def small_server(models_dir):
    """A server with 64 MiB of buffers and many rows a request: its address and process id."""
    flags = ("--max_buffered_bytes", str(64 * MEBIBYTE), "--max_enqueued_rows", "1000000")
    with polite_clients.server(models_dir, *flags) as found:
        yield found


# 100 million elements (1 GiB and more) in messages of a few bytes.
HUGE = {
    "zeros": predict("brightness", "images", proto((34952, 32, 32, 3))),
    "one value": predict("brightness", "images", proto((34952, 32, 32, 3), int_val=[1])),
    "two values": predict("brightness", "images", proto((34952, 32, 32, 3), int_val=[1, 2])),
    "two values, far fewer": predict("lookup", "shape", proto((60 * MEBIBYTE,), int_val=[1, 2])),
    "of another shape": predict("brightness", "images", proto((10**8,), int_val=[1, 2])),
    "strings": predict("brightness", "images", proto((10**8,), DataType.DT_STRING)),
    "overflow": predict("brightness", "images", proto((1 << 62, 1 << 62))),
    "negative": predict("brightness", "images", proto((-1, 1 << 62))),
    "beside nothing": predict("brightness", "images", proto((0, 1 << 62, 1 << 62))),
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
def test_a_small_message_cannot_stand_for_a_huge_tensor(small_server, body):
    """Tiny messages for huge tensors are refused with INVALID_ARGUMENT before they take memory.

    Clients do not retry INVALID_ARGUMENT.
    """
    address, pid = small_server
    before = polite_clients.peak_bytes(pid)
    with (
        polite_clients.beside(address) as polite,
        grpc.insecure_channel(address) as channel,
        ThreadPoolExecutor(20) as attackers,
    ):
        refuse = partial(refusal, channel, PREDICT_PATH)
        refusals = list(attackers.map(refuse, [body] * 60))

    assert {code for code, _ in refusals} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert not polite.errors
    assert polite_clients.peak_bytes(pid) - before < 50 * MEBIBYTE


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            {"max_rows_per_request": 4},
            (5, 32, 32, 3),
            (
                "tensor of shape (5, 32, 32, 3) has 5 rows, expected at most 4 per request; send "
                "smaller batches or raise the server's --max_rows_per_request"
            ),
        ),
        (
            {"max_buffered_bytes": 10_000},
            (4, 32, 32, 3),
            (
                "bytes with its decoded tensors, expected at most 10000; send smaller batches or "
                "raise the server's --max_buffered_bytes"
            ),
        ),
    ],
)
def test_every_protocol_names_the_limit(models_dir, running_server, settings, shape, message):
    """On every protocol, the error names the limit, the flag that sets it and the way out."""
    size = int(np.prod(shape))
    typed = ModelInferRequest(model_name="brightness")
    tensor = typed.inputs.add(name="images", datatype="UINT8", shape=shape)
    tensor.contents.uint_contents.extend([1] * size)
    raw = ModelInferRequest(model_name="brightness", raw_input_contents=[bytes(size)])
    raw.inputs.add(name="images", datatype="UINT8", shape=shape)
    entry = {"name": "images", "datatype": "UINT8", "shape": shape}
    header = json.dumps({"inputs": [entry | {"parameters": {"binary_data_size": size}}]}).encode()
    with (
        running_server(models_dir, **settings) as address,
        grpc.insecure_channel(address) as channel,
    ):
        answers = [
            refusal(channel, PREDICT_PATH, predict("brightness", "images", proto(shape))),
            refusal(
                channel,
                PREDICT_PATH,
                predict("brightness", "images", proto(shape, tensor_content=bytes(size))),
            ),
            refusal(channel, INFER_PATH, typed.SerializeToString()),
            refusal(channel, INFER_PATH, raw.SerializeToString()),
        ]
        http = Http(address)
        rest = [
            http.post(
                "/v1/models/brightness:predict",
                {"instances": np.ones(shape, np.uint8).tolist()},
            ),
            http.post("/v2/models/brightness/infer", {"inputs": [entry | {"data": [1] * size}]}),
            http.post(
                "/v2/models/brightness/infer",
                header + bytes(size),
                inference_header_content_length=str(len(header)),
            ),
        ]

    assert {code for code, _ in answers} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert all(text.endswith(message) for _, text in answers)
    assert {status for status, _ in rest} == {400}
    assert all(answer["error"].endswith(message) for _, answer in rest)


def test_a_templated_request_has_the_same_limits(models_dir, running_server):
    """A request over the limit is refused each time, also when a template reads it."""
    body = predict("identity", "x", proto((5, 3), DataType.DT_FLOAT, tensor_content=bytes(60)))
    with (
        running_server(models_dir, max_rows_per_request=4) as address,
        grpc.insecure_channel(address) as channel,
    ):
        answers = [refusal(channel, PREDICT_PATH, body) for _ in range(4)]

    assert all("5 rows, expected at most 4 per request" in text for _, text in answers)


def test_decoded_bytes_are_given_back(models_dir, running_server):
    """20 requests in a row do not fill a budget of 200 bytes: decoded bytes are returned."""
    tensor = proto((2, 3), DataType.DT_FLOAT, float_val=struct.unpack("<f", bytes(4)))
    body = predict("identity", "x", tensor)
    with (
        running_server(models_dir, max_buffered_bytes=200) as address,
        grpc.insecure_channel(address) as channel,
    ):
        answers = {channel.unary_unary(PREDICT_PATH)(body, timeout=10) for _ in range(20)}

    assert len(answers) == 1
