"""The server's errors and the gRPC status code of each.

Path of a request, and the errors that its steps raise::

    bytes -> decode -> resolve model -> check signature -> run -> encode -> bytes

    ServingError
    ├── InvalidInput          the request contradicts the protocol or the signature
    ├── FailedPrecondition    the request is well formed, but the model has no such signature
    ├── NotFound              no such model or version
    ├── Unsupported           no such method, or a feature this server does not have
    ├── ResourceExhausted     the message is larger than the server accepts
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

from enum import IntEnum
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


class ResourceExhausted(ServingError):
    """The request is larger than the server accepts."""

    code = StatusCode.RESOURCE_EXHAUSTED


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
