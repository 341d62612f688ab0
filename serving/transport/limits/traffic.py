"""The requests of each connection, as far as the application sees them.

A connection begins slowly: of a burst of requests on a new one, a few run at once, and two more for
each that is answered. Whether a client reads its answers, and how large they are, is known before
hundreds of them are made.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

# Address and port of a connection's other end.
Client = tuple[str, int]


# Of a new connection's requests, so many begin at once, and any number after this time.
FIRST_REQUESTS = 16
_PATIENCE_SECONDS = 0.25


class Traffic:
    """The requests of one connection.

    Attributes:
        in_flight: Requests that are being answered now, or wait for their turn.
        requests: Requests so far.
        waiting: Those that wait for their turn.
    """

    __slots__ = ("in_flight", "requests", "waiting")

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def _room(self) -> int:
        """How many more may run, of a connection of so many answers; negative: too many do."""
        answered = self.requests - self.in_flight
        running = self.in_flight - len(self.waiting)
        return FIRST_REQUESTS + answered - running

    async def wait_for_turn(self) -> None:
        """Return when a request that is in flight may begin, or has waited for long.

        Streams may go on for days, and a model may take its time: nobody waits for them.
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
        """Let those begin that may by now; to be called when a request has ended."""
        while self.waiting and self._room > 0:
            _give(self.waiting.popleft())


def _give(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


class TrafficTable:
    """The traffic of every connection with a request so far. For the event loop alone.

    Attributes:
        in_flight: Requests of all connections that are being answered now.
        header_bytes: Of these, the headers that are counted; see `Admission`.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.header_bytes = 0
        self._by_client: dict[Client, Traffic] = {}

    def begin(self, client: Sequence[object] | None) -> Traffic:
        """Count a request; its end is `in_flight -= 1` of what this returns.

        Args:
            client: ASGI's `scope["client"]`; None for a Unix socket.
        """
        # A tuple of the web server's, used as it is: this runs once a request.
        traffic: Traffic | None = self._by_client.get(client)  # type: ignore[call-overload]
        if traffic is None:
            traffic = Traffic()
            if client is not None:
                self._by_client[(str(client[0]), int(str(client[1])))] = traffic
        traffic.in_flight += 1
        traffic.requests += 1
        return traffic

    def get(self, client: Client) -> Traffic | None:
        """The traffic of a connection; None if it has made no request."""
        return self._by_client.get(client)

    def forget_all_but(self, clients: Collection[Client]) -> None:
        """Drop the connections that are gone.

        Args:
            clients: Those that are still there.
        """
        gone = [client for client in self._by_client if client not in clients]
        for client in gone:
            del self._by_client[client]
