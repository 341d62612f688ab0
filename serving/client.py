"""A client for TensorFlow Serving's gRPC API that needs no TensorFlow: NumPy in, NumPy out.

    >>> with PredictClient("localhost:8500") as client:
    ...     answer = client.predict("simcnn", {"images": images})
    >>> answer["classes"]
    array([3, 8, 8, 0])

The client works with this server and with TensorFlow Serving. As a program it calls a server from
the command line: `python -m serving.client classify simcnn cat.png`.
"""

from serving.clients.asynchronous import AsyncPredictClient
from serving.clients.blocking import PredictClient
from serving.clients.messages import predict_request, response_arrays
from serving.clients.pictures import Picture, read_pictures
from serving.clients.predict_error import BatchError, PredictError
from serving.connection.call_settings import DEFAULT_TIMEOUT_SECONDS, CallSettings
from serving.connection.channels import (
    CHANNEL_OPTIONS,
    CLASSIFY_PATH,
    GET_MODEL_METADATA_PATH,
    GET_MODEL_STATUS_PATH,
    HEALTH_CHECK_PATH,
    PREDICT_PATH,
)
from serving.connection.credentials import call_metadata, tls_credentials
from serving.connection.retries import RetryPolicy

__all__ = [
    "CHANNEL_OPTIONS",
    "CLASSIFY_PATH",
    "DEFAULT_TIMEOUT_SECONDS",
    "GET_MODEL_METADATA_PATH",
    "GET_MODEL_STATUS_PATH",
    "HEALTH_CHECK_PATH",
    "PREDICT_PATH",
    "AsyncPredictClient",
    "BatchError",
    "CallSettings",
    "Picture",
    "PredictClient",
    "PredictError",
    "RetryPolicy",
    "call_metadata",
    "predict_request",
    "read_pictures",
    "response_arrays",
    "tls_credentials",
]

if __name__ == "__main__":
    import sys

    from serving.clients.commands import program

    sys.exit(program.main(sys.argv[1:]))
