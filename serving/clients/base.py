"""What both clients share: the arguments of their constructors, the channel and its calls."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import grpc

from serving.connection import channels
from serving.connection.call_settings import DEFAULT_TIMEOUT_SECONDS, CallDefaults
from serving.connection.first_answer import FirstAnswer
from serving.connection.retries import RetryPolicy


class ClientBase:
    """A client without methods; the subclasses call the API with `grpc` or with `grpc.aio`."""

    _library: ClassVar[ModuleType]

    def __init__(
        self,
        target: str = "localhost:8500",
        *,
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        retries: int | RetryPolicy = 0,
        compression: grpc.Compression | None = None,
        wait_for_ready: bool = False,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Create a client; the first call opens the connection.

        Args:
            target: `host:port`, or `unix:path`.
            timeout: Default timeout of a call in seconds, with all its retries; None for none.
            credentials: TLS credentials, for example `tls_credentials("ca.pem")`; None for plain
                text, which shows the API key to the network.
            api_key: Key of a server or gateway that demands one; sent with each call as
                `authorization: Bearer KEY`.
            metadata: Further metadata (headers) of each call, as names and values.
            retries: How often gRPC sends a call again that failed with UNAVAILABLE, 0 to 4; a
                `RetryPolicy` has other codes and pauses.
            compression: Compression of requests, `grpc.Compression.Gzip` or `Deflate`; answers
                are compressed if the server does that.
            wait_for_ready: Whether calls wait, up to their timeout, for a server that cannot be
                reached; otherwise they fail at once with UNAVAILABLE.
            options: gRPC channel options, for example `[("grpc.enable_http_proxy", 0)]`.

        Raises:
            ValueError: the key or the metadata cannot be sent, or the timeout or the retries are
                not possible.
        """
        self._defaults = CallDefaults(
            timeout=timeout, api_key=api_key, metadata=metadata, wait_for_ready=wait_for_ready
        )
        self._channel = channels.open_channel(
            self._library,
            target,
            credentials=credentials,
            retries=retries,
            compression=compression,
            options=options,
        )
        self._first = FirstAnswer(target, tls=credentials is not None)
        self._callables = channels.callables(self._channel)
