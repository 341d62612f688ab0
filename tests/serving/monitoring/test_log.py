import json
import logging

import pytest

from serving.errors import InternalError
from serving.monitoring import log as request_log
from serving.transport import failures

logger = logging.getLogger("serving.test")


@pytest.fixture
def log(capsys):
    """Reads what the log has written since it was configured."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_can_be_parsed(log):
    """Each line is an object; what has an exception or a request id carries it."""
    request_log.configure("json")
    logger.info("loaded %s", "grün\n")
    failures.status_of(ValueError("secret"), "/s/M", {b"x-request-id": b"abc"}, logger)

    first, second = map(json.loads, log().splitlines())
    assert (first["level"], first["logger"], first["message"]) == (
        "INFO",
        "serving.test",
        "loaded grün\n",
    )
    assert "request_id" not in first
    assert second["request_id"] == "abc"
    assert second["exception"].endswith("ValueError: secret")
    assert second["time"].endswith("+00:00")


def test_text_lines_name_the_request(log):
    """Time, level, logger, message; the id is part of the message."""
    request_log.configure("text")
    failures.status_of(InternalError("broken"), "/s/M", {b"request-id": b"abc"}, logger)

    assert "ERROR serving.test: INTERNAL in /s/M (request abc): broken" in log()
