"""The server's errors and the gRPC status code of each.

Path of a request, and the errors that its steps raise::

    bytes -> decode -> resolve model -> check signature -> run -> encode -> bytes

    ServingError
    ├── InvalidInput          the request contradicts the protocol or the signature
    ├── FailedPrecondition    the request is well formed, but the model has no such signature
    ├── NotFound              no such model or version
    ├── Unsupported           no such method, or a feature this server does not have
    ├── Unauthenticated       the key is missing, unknown or expired
    ├── PermissionDenied      the caller may not call this method or use this model
    ├── ResourceExhausted     the message is larger than the server accepts
    │   └── RateLimited       the caller has used up its rate or its calls in flight
    ├── Unavailable           the server is starting, draining or full; the call may be retried
    ├── DeadlineExceeded      the client's deadline passed before the answer was ready
    ├── OutOfRange            a TensorFlow operator reported it
    ├── DataLoss              a model folder differs from its manifest
    ├── InternalError         the model failed at run time
    └── UnknownError          a reload failed

The status of an HTTP answer is derived from the gRPC code. Messages are written for the caller:
what was received, what was expected, the way out. Any other exception is a bug: it is logged with
its traceback and answered INTERNAL "internal error", so that no internals leak.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import ClassVar


class StatusCode(IntEnum):
    """The canonical gRPC status codes, with the numbers of the header `grpc-status`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """An error whose message may be shown to the caller."""

    code: ClassVar[StatusCode] = StatusCode.UNKNOWN

    @property
    def message(self) -> str:
        """The text that the caller receives."""
        return str(self)

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Further headers of the HTTP answer, and further trailing metadata of the gRPC call."""
        return ()


class InvalidInput(ServingError):
    """The request contradicts the protocol or the model's signature."""

    code = StatusCode.INVALID_ARGUMENT


class FailedPrecondition(ServingError):
    """The request is well formed, but the model's state or signatures do not allow it."""

    code = StatusCode.FAILED_PRECONDITION


class NotFound(ServingError):
    """The model or the version is not configured on this server."""

    code = StatusCode.NOT_FOUND


class Unsupported(ServingError):
    """The method or feature does not exist on this server."""

    code = StatusCode.UNIMPLEMENTED


class Unauthenticated(ServingError):
    """The call needs a key, and its key is missing, unknown or expired."""

    code = StatusCode.UNAUTHENTICATED

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """How to send a key, as HTTP requires it of status 401."""
        return ((b"www-authenticate", b'Bearer realm="onnx-serving"'),)


class PermissionDenied(ServingError):
    """The server knows the caller, who may not call this method or use this model."""

    code = StatusCode.PERMISSION_DENIED


class ResourceExhausted(ServingError):
    """The request is larger than the server accepts."""

    code = StatusCode.RESOURCE_EXHAUSTED


class RateLimited(ResourceExhausted):
    """The caller has used up its rate or its calls in flight.

    Attributes:
        retry_after_seconds: Time after which the same call may succeed.
    """

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error be pickled, although one of its arguments has to be named."""
        again = partial(type(self), retry_after_seconds=self.retry_after_seconds)
        return again, (self.message,)

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """`retry-after` in whole seconds, at least 1."""
        return ((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after_seconds))),)


class Unavailable(ServingError):
    """The server is starting, draining or full; the same call may succeed later."""

    code = StatusCode.UNAVAILABLE


class DeadlineExceeded(ServingError):
    """The client's deadline passed before the answer was ready."""

    code = StatusCode.DEADLINE_EXCEEDED


class OutOfRange(ServingError):
    """A TensorFlow operator ran past the end of its input; no other runtime reports this."""

    code = StatusCode.OUT_OF_RANGE


class DataLoss(ServingError):
    """A model folder is incomplete, or differs from its manifest."""

    code = StatusCode.DATA_LOSS


class InternalError(ServingError):
    """The model failed while it ran on the request's input."""

    code = StatusCode.INTERNAL


class UnknownError(ServingError):
    """A reload failed and the old models stay; TensorFlow Serving answers UNKNOWN too."""

    code = StatusCode.UNKNOWN


class ConfigError(Exception):
    """A setting or a settings file is wrong, so the server cannot start; callers never see it."""
