"""The assignment of a run's generators: target, API, requests and connections."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.load.replay import RecordedQueries
from loadtest.report_schema import Transport
from loadtest.rows.dataset import Dataset, Integers
from loadtest.rows.images import Queries, shuffled
from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports.api import Api
from loadtest.transports.catalogue import encode, make_sender
from loadtest.transports.sender import Sender


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The settings that every generator and every run of a fleet share, without the rows.

    Attributes:
        target: `host:port`.
        transport: Name of the transport.
        api: The API, for the model.
        batch: Rows in a request.
        order_seed: Seed of the order of the rows.
        queries: Number of distinct requests to make; None to cover all rows.
        connections: Number of connections of all processes together.
        timeout_seconds: Deadline of a request.
        connection: TLS, headers and compression of the connections.
        server_timing: Ask the server for its own timings.
        images: int64, shape (requests, batch): the rows of each request of a replay, -1 at unused
            places; None for all rows in turn.
    """

    target: str
    transport: Transport
    api: Api
    batch: int
    order_seed: int
    queries: int | None
    connections: int
    timeout_seconds: float
    connection: ConnectionConfig = PLAIN
    server_timing: bool = False
    images: Integers | None = None

    def payloads(self, dataset: Dataset) -> list[bytes]:
        """Return the request body of each query, in order.

        Args:
            dataset: All rows.
        """
        known = self.known_queries(len(dataset))
        bodies: dict[bytes, bytes] = {}  # recorded requests may ask for the same rows again
        asked = [known.image_ids(query) for query in range(self.sent_queries(len(dataset)))]
        for row_ids in asked:
            if (key := row_ids.tobytes()) not in bodies:
                bodies[key] = self.payload(dataset, row_ids)
        return [bodies[row_ids.tobytes()] for row_ids in asked]

    def payload(self, dataset: Dataset, row_ids: Sequence[int] | Integers) -> bytes:
        """Return the body of a request for some rows, compressed if the connection's requests are.

        Args:
            dataset: All rows.
            row_ids: Indices of the rows, in order.
        """
        return encode(self.transport, self.api.payload(dataset.batch(row_ids)), self.connection)

    def sent_queries(self, rows: int) -> int:
        """Return the number of distinct queries that are sent of so many rows."""
        known = len(self.known_queries(rows))
        return min(self.queries or known, known)

    def known_queries(self, rows: int) -> Queries:
        """Return the queries over all rows, or those of a replay.

        Args:
            rows: Number of rows.
        """
        if self.images is not None:
            return RecordedQueries(self.images.ravel(), self.batch)
        return shuffled(rows, batch=self.batch, seed=self.order_seed)

    def sender(self, connections: int) -> Sender:
        """Return a sender with `connections` connections; call this in the loop that uses it."""
        return make_sender(
            self.transport,
            self.target,
            self.api,
            connections=connections,
            timeout_seconds=self.timeout_seconds,
            connection=self.connection,
            server_timing=self.server_timing,
        )
