"""The errors of calls that failed."""

from typing import Any

import grpc


class PredictError(Exception):
    """A call that the server refused, or that did not reach the server.

    Attributes:
        code: gRPC status, for example `grpc.StatusCode.INVALID_ARGUMENT`.
        message: Error message, from the server or from gRPC.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error be pickled: a process pool hangs on an error that it cannot unpickle."""
        return type(self), (self.code, self.message)


class BatchError(PredictError):
    """One batch of `predict_batches` that failed; all batches before it were answered.

    Attributes:
        rows: The rows of this batch, counted from 0 over all batches.
    """

    def __init__(self, code: grpc.StatusCode, message: str, rows: range) -> None:
        super().__init__(code, f"{rows_text(rows)}: {message}")
        self.rows = rows
        self._reason = message

    def __reduce__(self) -> tuple[Any, ...]:
        """See PredictError."""
        return type(self), (self.code, self._reason, self.rows)


def predict_error(error: Any) -> PredictError:  # noqa: ANN401 - grpc.RpcError has no `code` in its types
    """Return the error of a call that gRPC reports as failed."""
    return PredictError(error.code(), error.details() or "")


def rows_text(rows: range) -> str:
    """Return rows as messages name them: `row 3`, `rows 0 to 31`."""
    return f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"
