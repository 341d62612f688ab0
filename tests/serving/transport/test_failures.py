import gc
import logging
import weakref

import pytest

from serving.errors import InternalError, NotFound, StatusCode
from serving.transport import failures

logger = logging.getLogger("serving.test")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFound("no such model"), StatusCode.NOT_FOUND, "no such model"),
        (InternalError("broken"), StatusCode.INTERNAL, "broken"),
        (ValueError("secret"), StatusCode.INTERNAL, "internal error"),
    ],
)
def test_unexpected_errors_are_not_shown(error, code, message):
    """A ServingError is written for the caller; anything else is a bug."""
    assert failures.status_of(error, "/s/M", {b"x-request-id": b"abc"}, logger) == (
        code,
        message,
        "abc",
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (StatusCode.OK, 200),
        (StatusCode.CANCELLED, 499),
        (StatusCode.UNKNOWN, 500),
        (StatusCode.INVALID_ARGUMENT, 400),
        (StatusCode.DEADLINE_EXCEEDED, 504),
        (StatusCode.NOT_FOUND, 404),
        (StatusCode.ALREADY_EXISTS, 409),
        (StatusCode.PERMISSION_DENIED, 403),
        (StatusCode.RESOURCE_EXHAUSTED, 429),
        (StatusCode.FAILED_PRECONDITION, 400),
        (StatusCode.ABORTED, 409),
        (StatusCode.OUT_OF_RANGE, 400),
        (StatusCode.UNIMPLEMENTED, 501),
        (StatusCode.INTERNAL, 500),
        (StatusCode.UNAVAILABLE, 503),
        (StatusCode.DATA_LOSS, 500),
        (StatusCode.UNAUTHENTICATED, 401),
    ],
)
def test_every_code_has_the_http_status_of_tensorflow_serving(code, status):
    """Clients and load balancers retry a 503 and never a 500."""
    assert failures.error_response(code, "x").status == status


def test_every_code_is_in_the_table_above():
    """A code that is added needs an HTTP status that somebody has thought about."""
    (listed,) = test_every_code_has_the_http_status_of_tensorflow_serving.pytestmark

    assert {code for code, _ in listed.args[1]} == set(StatusCode)


def test_an_unknown_gateway_status_is_500():
    """Codes without an HTTP counterpart are server errors."""
    response = failures.error_response(StatusCode.DATA_LOSS, "x")

    assert response.status == 500


def test_a_failed_request_leaves_nothing_behind():
    """Its data is freed at once, though a frame on the way had the error in a variable."""

    class Body:
        """Stands for a request's megabytes, which alone cannot be watched."""

    def fail(_body: Body) -> None:
        error = NotFound("no such model")
        raise error

    body = Body()
    watched = weakref.ref(body)
    gc.disable()
    try:
        try:
            fail(body)
        except NotFound as error:
            failures.status_of(error, "/s/M", {}, logger)
        del body
        assert watched() is None
    finally:
        gc.enable()
