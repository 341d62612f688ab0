import logging

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


def test_an_unknown_gateway_status_is_500():
    """Codes without an HTTP counterpart are server errors."""
    response = failures.error_response(StatusCode.DATA_LOSS, "x")

    assert response.status == 500
