"""The interface of a sender: it sends the bytes of requests and receives the bytes of answers."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

# Sends a request body and returns the answer's body; with server timing, a TimedResponse.
Lane = Callable[[bytes], Awaitable["bytes | TimedResponse"]]
TIMING_REQUEST_HEADER = "x-server-timing"
TIMING_RESPONSE_HEADER = "server-timing"


class TimedResponse(NamedTuple):
    """An answer's body with the server's own timings, as text; the text is empty without them."""

    body: bytes
    timing: str


class Sender(Protocol):
    """Connections to one server; created in the event loop that uses them.

    Attributes:
        failures: Exceptions that a lane raises if a request fails.
    """

    failures: tuple[type[BaseException], ...]

    def lane(self, number: int) -> Lane:
        """Return the send function of user or slot `number`; numbers share connections in turn."""
        ...

    def explain(self, error: BaseException) -> tuple[str, str]:
        """Return the kind of a failure (gRPC status name or HTTP_<code>) and its message."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
