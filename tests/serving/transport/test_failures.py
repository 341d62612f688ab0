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
    """A ServingError's message is shown to the caller; any other error is "internal error"."""
    assert failures.status_of(error, "/s/M", {b"x-request-id": b"abc"}, logger) == (
        code,
        message,
        ((b"x-request-id", b"abc"),),
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
    """Every code has TensorFlow Serving's HTTP status.

    Clients and load balancers retry a 503 and never a 500.
    """
    assert failures.error_response(code, "x").status == status


def test_every_code_is_in_the_table_above():
    """The test above lists every status code, so that a new code gets an HTTP status on purpose."""
    (listed,) = test_every_code_has_the_http_status_of_tensorflow_serving.pytestmark

    assert {code for code, _ in listed.args[1]} == set(StatusCode)


def test_data_loss_is_500():
    """DATA_LOSS, which has no HTTP counterpart, is 500."""
    response = failures.error_response(StatusCode.DATA_LOSS, "x")

    assert response.status == 500


def test_a_failed_requests_data_is_freed_at_once():
    """Data of a failed request is freed at once, although frames of the traceback refer to it."""

    class Body:
        """Stands in for a request's bytes, because `bytes` cannot be referenced weakly."""

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
