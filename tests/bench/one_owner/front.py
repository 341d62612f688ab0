"""The protocol process's side: a servable whose requests wait and run in the owner.

The seam is the batcher's request queue. `Outbox` takes its place: it writes the rows of a request
into a slot, and sends one message for all requests of a turn of the event loop. The owner has the
real queue with the requests of all protocol processes. One message comes back for each batch, and
settles all futures of the process in it.
"""

import pickle
import socket
import threading
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

import numpy as np
from bench.one_owner.description import Description
from bench.one_owner.outbox import WELCOME_BYTES, Outbox
from bench.one_owner.slots import Slots

from serving.engine.batching.batch_report import OnBatch
from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.enqueued_rows import EnqueuedRows
from serving.engine.servable import Servable
from serving.errors import Unavailable
from serving.tensors.example_parser import ExampleParser

# For so long a protocol process tries to reach an owner that is being started again.
_CONNECT_SECONDS = 30.0
# Pause between two looks whether all requests are answered, or the owner can be reached.
_CLOSING_SECONDS = 0.02


class Front(Servable):
    """A servable of the owner, with everything but its graphs."""

    def __init__(self, description: Description, outbox: Outbox) -> None:
        """Take over a description; the base class would need the loaded graphs."""
        vars(self).update(
            (name, getattr(description, name))
            for name in Description.__annotations__
            if name not in {"provider", "platform", "batching", "endable"}
        )
        self.max_rows = description.batching.max_enqueued_rows
        self.parsers = {
            name: ExampleParser(signature.feature_spec)
            for name, signature in description.signatures.items()
            if signature.feature_spec
        }
        self._description = description
        self._held, self._released = 0, threading.Condition()
        self._runtimes, self._binding = {}, None
        self._batcher = FrontBatcher(description.batching, outbox, str(self))

    @property
    def provider(self) -> str:
        """Name of the execution provider that the owner's graphs run on."""
        return self._description.provider

    @property
    def platform(self) -> str:
        """Platform name in KServe's model metadata."""
        return self._description.platform

    def may_end_the_process(self, name: str) -> bool:
        """See `Servable.may_end_the_process`."""
        return name in self._description.endable

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        batched: bool | None = None,
        deadline: float | None = None,
    ) -> Awaitable[Mapping[str, np.ndarray]]:
        """See `Servable.predict`; outputs that no graph computes are added in this process."""
        signature = self.signatures[signature_name]
        graph = [alias for alias in outputs if not signature.outputs[alias].constant]
        answer = super().predict(signature_name, inputs, graph, batched=batched, deadline=deadline)
        if len(graph) == len(outputs):
            return answer
        rows = len(next(iter(inputs.values())))
        return self._with_constants(answer, signature_name, outputs, rows)

    async def _with_constants(
        self,
        answer: Awaitable[Mapping[str, np.ndarray]],
        signature_name: str,
        outputs: Sequence[str],
        rows: int,
    ) -> Mapping[str, np.ndarray]:
        arrays, specs = await answer, self.signatures[signature_name].outputs
        return {
            alias: specs[alias].constant_rows(rows) if specs[alias].constant else arrays[alias]
            for alias in outputs
        }


class FrontBatcher(Batcher):
    """A batcher whose requests wait in an outbox, and that has no worker threads."""

    def __init__(self, config: BatchingConfig, outbox: Outbox, name: str) -> None:
        self._config, self._name, self._closed = config, name, False
        self._queue = self._outbox = outbox
        self._rows = EnqueuedRows(outbox, name)

    def report_batches(self, on_batch: OnBatch) -> None:
        """Call `on_batch` in the event loop with the report of every batch that is sent here."""
        self._outbox.on_batch = on_batch

    def close(self) -> None:
        """Refuse new requests, wait until all are answered, and leave the owner; blocks."""
        self._closed = True
        while len(self._outbox):
            time.sleep(_CLOSING_SECONDS)
        self._outbox.close()


def load(owner: str, name: str, version: int, path: Path, own: Mapping[str, int]) -> Front:
    """Let the owner load a version, and return a servable that runs it there; blocks.

    Args:
        owner: Path of the owner's socket.
        name: Model name.
        version: Version number.
        path: The version's folder.
        own: The model's own batching settings.

    Raises:
        ServingError, DeviceError: see `Servable.load`.
        OSError: the owner cannot be reached.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        link.setsockopt(socket.SOL_SOCKET, option, 4 * WELCOME_BYTES)
    until = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            link.connect(owner)
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(_CLOSING_SECONDS)
    link.send(pickle.dumps((name, version, path, dict(own))))
    answer, descriptors, _, _ = socket.recv_fds(link, WELCOME_BYTES, 1)
    if not answer:
        msg = "the process that runs the models has ended; retry"
        raise Unavailable(msg)
    content = pickle.loads(answer)  # noqa: S301 - from the owner, a process of the same server
    if isinstance(content, BaseException):
        raise content
    description, count, size = content
    link.setblocking(False)
    slots = Slots(descriptors[0], count, size)
    return Front(description, Outbox(link, slots, count, f"{name}/{version}"))
