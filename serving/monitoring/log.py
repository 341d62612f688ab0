"""The log: lines of text or of JSON, and the request's id in those about a failed request.

A caller names its request in the metadata or header `x-request-id` (or `request-id`); a request
without one gets an id when it fails, so that answer and log line can be brought together. Requests
that succeed are not logged and cost nothing here.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import get_args

from serving.transport.network_config import LogFormat

LOG_FORMATS = get_args(LogFormat)
# What ends a line for some reader, or moves a terminal's cursor. Callers choose names and paths.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEBACK_INDENT = "    | "


def _escaped(text: str) -> str:
    r"""Text without control characters: `\u000a` in place of a line feed."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TextFormatter(logging.Formatter):
    """One line a record, whatever its message holds; a traceback's lines are indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback's."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [_escaped(self.formatMessage(record))]
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            lines += [_TRACEBACK_INDENT + _escaped(line) for line in traceback.split("\n")]
        return "\n".join(lines)


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
        # Escapes mean the same inside of JSON's strings, and outside there is nothing to escape.
        return _escaped(json.dumps(entry, ensure_ascii=False))


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
            TextFormatter(
                f"%(asctime)s.%(msecs)03d %(levelname)s{who} %(name)s: %(message)s",
                "%Y-%m-%dT%H:%M:%S",
            )
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
