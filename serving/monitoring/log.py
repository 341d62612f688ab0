"""The log: lines of text or JSON, with the request id in lines about a failed request.

A caller may name its request in the metadata or header `x-request-id` (or `request-id`). A request
without an id gets one when it fails, so that its answer can be matched with the log line. Requests
that succeed are not logged.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO, get_args

from serving.monitoring import standard_error
from serving.transport.network_config import LogFormat

LOG_FORMATS = get_args(LogFormat)
# Characters that end a line for some log readers, or move a terminal's cursor. They must be
# escaped, because callers choose the names and paths in log lines.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEBACK_INDENT = "    | "


def _escaped(text: str) -> str:
    r"""Return text with its control characters escaped: `\u000a` in place of a line feed."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TextFormatter(logging.Formatter):
    """Formats a record as one line, even if its message has line feeds.

    The lines of a traceback follow, indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line and the lines of its traceback."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [_escaped(self.formatMessage(record))]
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            lines += [_TRACEBACK_INDENT + _escaped(line) for line in traceback.split("\n")]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line with a JSON object.

    Its keys are time, level, logger and message; worker, request_id and exception are added if
    known.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
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
        # Control characters occur only inside JSON's strings, where the same escapes are valid.
        return _escaped(json.dumps(entry, ensure_ascii=False))


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error, and gives a slow reader a moment at the end of the process."""

    def close(self) -> None:
        """End the log; `logging.shutdown` calls this, at Python's exit too."""
        standard_error.finish()
        super().close()


def configure(log_format: LogFormat, *, worker: int | None = None) -> None:
    """Send the log of this process to standard error.

    Args:
        log_format: Text or JSON.
        worker: Number of this worker process, shown in its lines; None if it is not a worker.
    """
    handler = _LogHandler(sys.stderr)
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
