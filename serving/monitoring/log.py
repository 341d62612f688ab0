"""The log: lines of text or of JSON, and the request's id in those about a failed request.

A caller names its request in the metadata or header `x-request-id` (or `request-id`); a request
without one gets an id when it fails, so that answer and log line can be brought together. Requests
that succeed are not logged and cost nothing here.
"""

import json
import logging
import re
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, get_args

from serving.errors import ServingError, StatusCode

LogFormat = Literal["text", "json"]
LOG_FORMATS = get_args(LogFormat)
REQUEST_ID = b"x-request-id"
_MAX_ID = 128
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
# Faults of the server or the model; what callers do wrong would fill the log.
_FAULTS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what else there is to say."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            entry["worker"] = self._worker
        if request_id := getattr(record, "request_id", ""):
            entry["request_id"] = request_id
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(log_format: LogFormat, *, worker: int | None = None) -> None:
    """Send the log of this process to standard error.

    Args:
        log_format: Text or JSON.
        worker: Number of the worker that this process is, for its lines; None if it is none.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(worker))
    else:
        who = "" if worker is None else f" [worker {worker}]"
        handler.setFormatter(
            logging.Formatter(
                f"%(asctime)s.%(msecs)03d %(levelname)s{who} %(name)s: %(message)s",
                "%Y-%m-%dT%H:%M:%S",
            )
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


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
    return error.code, error.message, identity
