"""A gRPC server that refuses calls with a status, for tests of clients that try again."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np

from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse


@dataclass
class Refusing:
    """A running server and the calls that it has received.

    Attributes:
        address: `127.0.0.1:port`.
        refusals: Status codes of the next answers; afterwards Predict returns its inputs.
        received: Metadata of each call, in the order of their arrival.
        seconds_left: Time until the deadline of each call; a very large number without deadline.
    """

    address: str
    refusals: list[grpc.StatusCode] = field(default_factory=list)
    received: list[dict[str, str]] = field(default_factory=list)
    seconds_left: list[float] = field(default_factory=list)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, state: Refusing) -> None:
        self._state = state

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self._state.received.append(dict(call.invocation_metadata))
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        left = context.time_remaining()
        self._state.seconds_left.append(math.inf if left is None else left)
        if self._state.refusals:
            context.abort(self._state.refusals.pop(0), "not now")
        request, response = PredictRequest.FromString(body), PredictResponse()
        for name, tensor in request.inputs.items():
            tensor_proto.encode(np.array(tensor_proto.decode(tensor)), response.outputs[name])
        return response.SerializeToString()


@contextmanager
def refusing(*refusals: grpc.StatusCode) -> Iterator[Refusing]:
    """Serve on a free port: first the refusals, then answers."""
    state = Refusing("", list(refusals))
    with ThreadPoolExecutor(4) as pool:
        unlimited = [("grpc.max_receive_message_length", -1)]
        server = grpc.server(pool, handlers=[_Handler(state)], options=unlimited)
        state.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield state
        finally:
            server.stop(None).wait()
