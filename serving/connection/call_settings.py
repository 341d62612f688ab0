"""The settings of a call that have nothing to do with a model: timeout, metadata, compression."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import grpc

from serving.connection.credentials import call_metadata

DEFAULT_TIMEOUT_SECONDS = 30.0


class CallSettings(TypedDict, total=False):
    """Settings that every call of a client takes; what is left out is as the client has it.

    Attributes:
        timeout: Timeout of this call in seconds, with all its retries; `math.inf` for none.
        metadata: Further metadata (headers) of this call, as names and values, in addition to the
            client's.
        compression: Compression of this call's request.
        wait_for_ready: Whether the call waits, up to its timeout, for a server that cannot be
            reached.
    """

    timeout: float | None
    metadata: Sequence[tuple[str, str]]
    compression: grpc.Compression | None
    wait_for_ready: bool | None


class CallDefaults:
    """The settings of a client's calls, which each call may change for itself."""

    def __init__(
        self,
        *,
        timeout: float | None,
        api_key: str | None,
        metadata: Sequence[tuple[str, str]],
        wait_for_ready: bool,
    ) -> None:
        """Check the settings; arguments as for `PredictClient`.

        Raises:
            ValueError: the timeout is no number, or the key or the metadata cannot be sent.
        """
        self._timeout = _seconds(math.inf if timeout is None else timeout)
        self._metadata = call_metadata(api_key, metadata)
        self._wait_for_ready = wait_for_ready

    def arguments(
        self,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        compression: grpc.Compression | None = None,
        wait_for_ready: bool | None = None,
    ) -> dict[str, Any]:
        """Return the keyword arguments of gRPC's callable for one call; see `CallSettings`.

        Raises:
            ValueError: the timeout is no number, or the metadata cannot be sent.
        """
        ready = self._wait_for_ready if wait_for_ready is None else wait_for_ready
        return {
            "timeout": self._timeout if timeout is None else _seconds(timeout),
            "metadata": (*self._metadata, *call_metadata(None, metadata))
            if metadata
            else self._metadata,
            "compression": compression,
            "wait_for_ready": ready or None,
        }


def _seconds(timeout: float) -> float | None:
    """Return a timeout as gRPC takes it: None for none.

    Raises:
        ValueError: the timeout is not a number.
    """
    if math.isnan(timeout):
        msg = "timeout is nan, expected seconds, or math.inf for no timeout"
        raise ValueError(msg)
    return None if timeout == math.inf else timeout
