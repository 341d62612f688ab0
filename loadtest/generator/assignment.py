"""The assignment of a run's generators: target, API, images and connections."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.load.images import Queries, shuffled
from loadtest.load.replay import RecordedQueries
from loadtest.report_schema import Transport
from loadtest.settings.config import PLAIN, ConnectionConfig
from loadtest.transports.api import Api
from loadtest.transports.catalogue import encode, make_sender
from loadtest.transports.sender import Sender


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The settings that every generator and every run of a fleet share.

    Attributes:
        target: `host:port`.
        transport: Name of the transport.
        api: The API, for the model.
        data_dir: Folder or archive of the images; None to use $CIFAR10_DIR.
        batch: Images in a request.
        order_seed: Seed of the order of the images.
        queries: Number of distinct requests to make; None to cover all images.
        connections: Number of connections of all processes together.
        timeout_seconds: Deadline of a request.
        connection: TLS, headers and compression of the connections.
        server_timing: Ask the server for its own timings.
        images: int64, shape (requests, batch): the images of each request of a replay, -1 at unused
            places; None for all images in turn.
    """

    target: str
    transport: Transport
    api: Api
    data_dir: Path | None
    batch: int
    order_seed: int
    queries: int | None
    connections: int
    timeout_seconds: float
    connection: ConnectionConfig = PLAIN
    server_timing: bool = False
    images: npt.NDArray[np.int64] | None = None

    def payloads(self, images: npt.NDArray[np.uint8]) -> list[bytes]:
        """Return the request body of each query, in order.

        Args:
            images: All test images: uint8, shape (n, 32, 32, 3).
        """
        known = self.known_queries(len(images))
        count = len(known) if self.queries is None else min(self.queries, len(known))
        bodies: dict[bytes, bytes] = {}  # recorded requests may ask for the same images again
        for query in range(count):
            asked = known.image_ids(query)
            if (key := asked.tobytes()) not in bodies:
                bodies[key] = self.payload(images[asked])
        return [bodies[known.image_ids(query).tobytes()] for query in range(count)]

    def payload(self, images: npt.NDArray[np.uint8]) -> bytes:
        """Return the request body for images: uint8, shape (n, 32, 32, 3)."""
        return encode(self.transport, self.api.payload(images), self.connection)

    def known_queries(self, images: int) -> Queries:
        """Return the queries over all test images, or those of a replay.

        Args:
            images: Number of test images.
        """
        if self.images is not None:
            return RecordedQueries(self.images.ravel(), self.batch)
        return shuffled(images, batch=self.batch, seed=self.order_seed)

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
