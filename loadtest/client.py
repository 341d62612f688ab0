"""One user's connection and the stopwatch: what a Predict call took and what it answered."""

import time
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from loadtest.images import Query
from serving import tensor_codec
from serving.client import CHANNEL_OPTIONS, PREDICT_PATH
from serving.errors import InvalidInput
from serving.protos.tensorflow_serving_pb2 import PredictResponse

OUTPUT_NAME = "classes"
# The one kind of error that is no gRPC status: an answer came, but not one that can be scored.
BAD_RESPONSE = "BAD_RESPONSE"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        sent_ns: When it was sent, on time.perf_counter_ns's clock.
        latency_ns: From sending to the parsed answer, in nanoseconds.
        classes: int64, shape (n,): the answer to each image; None if the request failed.
        version: Version that answered; None if the server did not say or the request failed.
        error: None, a gRPC status name such as `UNAVAILABLE`, or BAD_RESPONSE.
        message: The server's own words, or what is wrong with its answer.
        response_bytes: Size of the answer.
    """

    sent_ns: int
    latency_ns: int
    classes: npt.NDArray[np.int64] | None = None
    version: int | None = None
    error: str | None = None
    message: str = ""
    response_bytes: int = 0


class PredictionClient:
    """Sends ready-made requests over a connection of its own."""

    def __init__(self, target: str, *, timeout_seconds: float) -> None:
        """Prepare a connection; the first request opens it.

        Args:
            target: `host:port`.
            timeout_seconds: Deadline of each request.
        """
        # Channels with equal arguments share one connection, and then users would queue behind
        # each other in the client: a pool of its own gives each user its own connection.
        options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(target, options)
        self._predict: grpc.UnaryUnaryMultiCallable[bytes, PredictResponse] = (
            self._channel.unary_unary(
                PREDICT_PATH,
                request_serializer=None,  # requests are bytes already
                response_deserializer=PredictResponse.FromString,
            )
        )
        self._timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def send(self, query: Query) -> Outcome:
        """Send a request and wait for its answer. Failures are outcomes too, not exceptions."""
        clock = time.perf_counter_ns
        sent_ns = clock()
        try:
            response = self._predict(query.payload, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            latency_ns = clock() - sent_ns
            return Outcome(
                sent_ns=sent_ns,
                latency_ns=latency_ns,
                error=error.code().name,
                message=error.details() or "",
            )
        latency_ns = clock() - sent_ns
        try:
            classes = _classes(response, len(query.image_ids))
        except ValueError as error:
            return Outcome(
                sent_ns=sent_ns, latency_ns=latency_ns, error=BAD_RESPONSE, message=str(error)
            )
        spec = response.model_spec
        return Outcome(
            sent_ns=sent_ns,
            latency_ns=latency_ns,
            classes=classes,
            version=spec.version.value if spec.HasField("version") else None,
            response_bytes=response.ByteSize(),
        )


def _classes(response: PredictResponse, rows: int) -> npt.NDArray[np.int64]:
    """The class of each image.

    Raises:
        ValueError: The output is missing, or its dtype or shape is not what the request asks for.
    """
    if OUTPUT_NAME not in response.outputs:
        received = ", ".join(sorted(response.outputs)) or "none"
        msg = f'outputs {received} received, expected int64 "{OUTPUT_NAME}" of shape ({rows},)'
        raise ValueError(msg)
    try:
        classes = tensor_codec.decode(response.outputs[OUTPUT_NAME])
    except InvalidInput as error:
        msg = f'output "{OUTPUT_NAME}" cannot be read: {error.message}'
        raise ValueError(msg) from error
    if classes.dtype != np.int64 or classes.shape != (rows,):
        msg = (
            f'output "{OUTPUT_NAME}" is {classes.dtype} of shape {classes.shape}, '
            f"expected int64 of shape ({rows},)"
        )
        raise ValueError(msg)
    return classes
