import json
import logging

import pytest

from serving.errors import InternalError
from serving.monitoring import log as request_log
from serving.transport import failures

logger = logging.getLogger("serving.test")


@pytest.fixture
def log(capsys):
    """A function that returns the log text written since its last call."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_can_be_parsed(log):
    """Each log line is a JSON object; a failure line also has the exception and the request id."""
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
    """A text line has time, level, logger and message; the message names the request id."""
    request_log.configure("text")
    failures.status_of(InternalError("broken"), "/s/M", {b"request-id": b"abc"}, logger)

    assert "ERROR serving.test: INTERNAL in /s/M (request abc): broken" in log()


FORGED = "x\n2026-01-01T00:00:00.000 INFO serving.server: all is well\r\x1b[2J\x85\u2028"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_line_ends_in_names_are_escaped(log, log_format):
    """Line ends and control characters of a name are escaped, also in a traceback."""
    request_log.configure(log_format)
    logger.warning("no model %s", FORGED)
    failures.status_of(ValueError(FORGED), FORGED, {}, logger)

    lines = log().split("\n")
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert not any(character in "".join(lines) for character in "\r\x1b\x85\u2028")
    assert sum("serving.test" in line for line in lines) == 2
    if log_format == "json":
        first, second = map(json.loads, lines[:-1])
        assert first["message"] == f"no model {FORGED}"
        assert second["exception"].endswith(FORGED)
    else:
        assert "no model x\\u000a2026-01-01" in lines[0]
        assert all(line.startswith("    | ") for line in lines[2:-1])
