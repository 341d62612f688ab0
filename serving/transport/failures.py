"""The answers to failed requests, and the log lines about them.

A caller may name its request in the metadata or header `x-request-id` (or `request-id`). A request
without an id gets one when it fails, so that its answer can be matched with the log line.
"""

import json
import logging
import re
import uuid
from collections.abc import Mapping, Sequence

from serving.errors import ServingError, StatusCode
from serving.transport.route_table import HttpResponse

REQUEST_ID = b"x-request-id"
_MAX_ID = 128
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
# Codes for faults of the server or the model, logged as errors. Mistakes of callers are logged at
# level DEBUG: they would fill the log.
_FAULTS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS}


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the caller's request id, made safe for a log line, or a new id if there is none."""
    given = headers.get(REQUEST_ID) or headers.get(b"request-id")
    if not given:
        return uuid.uuid4().hex
    return _UNPRINTABLE.sub("?", given.decode("latin-1"))[:_MAX_ID]


def status_of(
    error: Exception, what: str, headers: Mapping[bytes, bytes], logger: logging.Logger
) -> tuple[StatusCode, str, Sequence[tuple[bytes, bytes]]]:
    """Return the status of a failed request, and log the error.

    The error's tracebacks are dropped, and with them the request's data: do not raise it again.

    Args:
        error: The exception that ended the request.
        what: The request's path or method, for the log.
        headers: The request's headers, with lower-case names.
        logger: The logger of the front end.

    Returns:
        Status code, message, and further headers of the answer: the request id and those of the
        error. The text of an unexpected error goes to the log only; its message is "internal
        error".
    """
    identity = request_id(headers)
    extra = {"request_id": identity}
    named = (REQUEST_ID, identity.encode())
    if not isinstance(error, ServingError):
        logger.error(
            "unexpected error in %s (request %s)", what, identity, exc_info=error, extra=extra
        )
        _drop_tracebacks(error)
        return StatusCode.INTERNAL, "internal error", (named,)
    level = logging.ERROR if error.code in _FAULTS else logging.DEBUG
    logger.log(
        level,
        "%s in %s (request %s): %s",
        error.code.name,
        what,
        identity,
        error.message,
        extra=extra,
    )
    _drop_tracebacks(error)
    return error.code, error.message, (named, *error.headers)


def _drop_tracebacks(error: BaseException) -> None:
    """Release the frames that an error passed through.

    A frame that holds its own error in a variable (a task's result, for example) forms a reference
    cycle. The cycle would keep the request's body in memory until the next garbage collection.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__


# TensorFlow Serving's mapping (util/net_http/server and model_servers/http_server.cc).
HTTP_STATUS = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


def error_response(code: StatusCode, message: str) -> HttpResponse:
    """Return `{"error": message}` with the HTTP status for a gRPC code, 500 if none is listed.

    The JSON is indented as TensorFlow Serving's.
    """
    body = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return HttpResponse(status=HTTP_STATUS.get(code, 500), body=body.encode(errors="replace"))
