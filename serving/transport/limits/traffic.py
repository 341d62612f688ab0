"""The requests of each connection, and the slow start of new connections.

On a new connection, a few requests of a burst run at once, and each answered request lets two more
begin. The server therefore learns whether a client reads its answers, and how large the answers
are, before it has computed hundreds of them.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

# Address and port of a connection's client.
Client = tuple[str, int]


# Requests of a new connection that run at once.
FIRST_REQUESTS = 16
# A request that has waited for this time begins in any case.
_PATIENCE_SECONDS = 0.25


class Traffic:
    """The requests of one connection.

    Attributes:
        in_flight: Number of requests that run or wait for their turn.
        requests: Number of requests so far, with those in flight.
        waiting: One future for each request that waits for its turn.
    """

    __slots__ = ("in_flight", "requests", "waiting")

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def _room(self) -> int:
        """Number of further requests that may run; negative if too many run."""
        answered = self.requests - self.in_flight
        running = self.in_flight - len(self.waiting)
        return FIRST_REQUESTS + answered - running

    async def wait_for_turn(self) -> None:
        """Return when a request that is already counted may begin.

        It waits `_PATIENCE_SECONDS` at most, because the requests before it may be streams that
        last for days, or run a slow model.
        """
        if self._room >= 0:
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self.waiting.append(turn)
        patience = loop.call_later(_PATIENCE_SECONDS, _give, turn)
        try:
            await turn
        finally:
            patience.cancel()
            if turn in self.waiting:
                self.waiting.remove(turn)

    def give_turns(self) -> None:
        """Let waiting requests begin while there is room; call this when a request has ended."""
        while self.waiting and self._room > 0:
            _give(self.waiting.popleft())


def _give(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


class TrafficTable:
    """The traffic of every connection that has made a request. Use it in the event loop only.

    Attributes:
        in_flight: Number of requests in flight, of all connections.
        header_bytes: Bytes of their headers, as far as `Admission` counts them.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.header_bytes = 0
        self._by_client: dict[Client, Traffic] = {}

    def begin(self, client: Sequence[object] | None) -> Traffic:
        """Count a new request and return the traffic of its connection.

        When the request ends, the caller must subtract 1 from the `in_flight` of that traffic.

        Args:
            client: ASGI's `scope["client"]`; None for a Unix socket.
        """
        # The web server's tuple is used as the key unchanged, to save time in every request.
        traffic: Traffic | None = self._by_client.get(client)  # type: ignore[call-overload]
        if traffic is None:
            traffic = Traffic()
            if client is not None:
                self._by_client[(str(client[0]), int(str(client[1])))] = traffic
        traffic.in_flight += 1
        traffic.requests += 1
        return traffic

    def get(self, client: Client) -> Traffic | None:
        """Return the traffic of a connection; None if it has made no request."""
        return self._by_client.get(client)

    def forget_all_but(self, clients: Collection[Client]) -> None:
        """Drop the traffic of connections that are closed.

        Args:
            clients: The clients whose connections are still open.
        """
        gone = [client for client in self._by_client if client not in clients]
        for client in gone:
            del self._by_client[client]
