"""What a failed request is answered with, and which failures the log tells of.

A caller names its request in the metadata or header `x-request-id` (or `request-id`); a request
without one gets an id when it fails, so that answer and log line can be brought together.
"""

import json
import logging
import re
import uuid
from collections.abc import Mapping

from serving.errors import ServingError, StatusCode
from serving.transport.route_table import HttpResponse

REQUEST_ID = b"x-request-id"
_MAX_ID = 128
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
# Faults of the server or the model; what callers do wrong would fill the log.
_FAULTS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS}


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The id that the caller gave its request, made safe for a log line; else a new one."""
    given = headers.get(REQUEST_ID) or headers.get(b"request-id")
    if not given:
        return uuid.uuid4().hex
    return _UNPRINTABLE.sub("?", given.decode("latin-1"))[:_MAX_ID]


def status_of(
    error: Exception, what: str, headers: Mapping[bytes, bytes], logger: logging.Logger
) -> tuple[StatusCode, str, str]:
    """What to answer a failed request with; faults of the server are logged.

    The error is at its end with this: its tracebacks are dropped, and with them the request's data.

    Args:
        error: What went wrong.
        what: The request, for the log: path or method.
        headers: The request's headers, lower-case names.
        logger: Of the front end.

    Returns:
        Code, message and request id; an unexpected error's text is logged, not shown.
    """
    identity = request_id(headers)
    extra = {"request_id": identity}
    if not isinstance(error, ServingError):
        logger.error(
            "unexpected error in %s (request %s)", what, identity, exc_info=error, extra=extra
        )
        _drop_tracebacks(error)
        return StatusCode.INTERNAL, "internal error", identity
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
    return error.code, error.message, identity


def _drop_tracebacks(error: BaseException) -> None:
    """Let go of the frames that an error came through.

    A frame that has its error in a variable (of a task, say) makes a cycle, which would keep the
    request's body until Python looks for cycles.
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
    """`{"error": message}` with the HTTP status that belongs to a gRPC code; 500 for the rest.

    It is laid out as TensorFlow Serving does.
    """
    body = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return HttpResponse(status=HTTP_STATUS.get(code, 500), body=body.encode(errors="replace"))
