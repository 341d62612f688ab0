"""What the generators of a run send, and where."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.load.images import Queries, shuffled
from loadtest.report_schema import Transport
from loadtest.transports.api import Api
from loadtest.transports.catalogue import make_sender
from loadtest.transports.sender import Sender


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What is sent and where; the same for every generator and every run of a fleet.

    Attributes:
        target: `host:port`.
        transport: API to speak.
        api: That API for the model.
        data_dir: Where the images are; None for $CIFAR10_DIR.
        batch: Images a request.
        order_seed: Decides the order of the images.
        queries: Different requests to make; None: of all images.
        connections: Over all processes.
        timeout_seconds: Deadline of a request.
        server_timing: Ask where the time went.
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
    server_timing: bool = False

    def payloads(self, images: npt.NDArray[np.uint8]) -> list[bytes]:
        """A body for every query, in order."""
        known = self.known_queries(len(images))
        count = len(known) if self.queries is None else min(self.queries, len(known))
        return [self.api.payload(images[known.image_ids(query)]) for query in range(count)]

    def known_queries(self, images: int) -> Queries:
        """Which images each query holds."""
        return shuffled(images, batch=self.batch, seed=self.order_seed)

    def sender(self, connections: int) -> Sender:
        """So many connections, to be made in the event loop that uses them."""
        return make_sender(
            self.transport,
            self.target,
            self.api,
            connections=connections,
            timeout_seconds=self.timeout_seconds,
            server_timing=self.server_timing,
        )
