"""How a request's bytes reach the server: what generators need of a transport."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

# Sends a body, gives the answer's body. With server timing the answer is a TimedResponse.
Lane = Callable[[bytes], Awaitable["bytes | TimedResponse"]]
TIMING_REQUEST_HEADER = "x-server-timing"
TIMING_RESPONSE_HEADER = "server-timing"


class TimedResponse(NamedTuple):
    """An answer with the server's account of its time; empty if it gave none."""

    body: bytes
    timing: str


class Sender(Protocol):
    """Connections to one server, made in the event loop that uses them.

    Attributes:
        failures: What a lane raises if a request fails.
    """

    failures: tuple[type[BaseException], ...]

    def lane(self, number: int) -> Lane:
        """The way for the user or slot of this number; numbers share connections in turn."""
        ...

    def explain(self, error: BaseException) -> tuple[str, str]:
        """The kind of a failure (gRPC status name or HTTP_<code>), and its message."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
