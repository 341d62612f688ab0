"""The requests of each connection, as far as the application sees them."""

from collections.abc import Collection, Sequence

# Address and port of a connection's other end.
Client = tuple[str, int]


class Traffic:
    """The requests of one connection.

    Attributes:
        in_flight: Requests that are being answered now.
        requests: Requests so far.
    """

    __slots__ = ("in_flight", "requests")

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = 0


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
