"""The owner: the process that has the weights, the queues and the worker threads.

A protocol process opens a connection for each servable. The first connection loads it, and the last
one that ends unloads it. The worker threads are those of the server; only their queue differs, see
`shared_queue`.
"""

import itertools
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.one_owner import slots
from bench.one_owner.description import Description
from bench.one_owner.outbox import WELCOME_BYTES
from bench.one_owner.shared_queue import Link, SharedQueue
from bench.one_owner.slots import Slots

from serving.engine.batching.active_runs import ACTIVE, LOOK_SECONDS
from serving.engine.batching.worker import Work, Worker
from serving.engine.managed_model import LoadServable
from serving.engine.runtime import SessionControl
from serving.engine.servable import Servable


class Owned:
    """A servable of the owner, with its queue and worker threads."""

    def __init__(self, servable: Servable, on_empty: Callable[[], None]) -> None:
        """Start the worker threads.

        Args:
            servable: A loaded servable, whose own worker threads stay idle.
            on_empty: Called when no protocol process uses it any more.
        """
        self.servable = servable
        self.description = Description.of(servable)
        self.queue = SharedQueue(on_empty)
        work = Work(servable.run, servable.batching, str(servable), SessionControl, self.queue)
        self._workers = [Worker(work, number, None, None) for number in range(servable.instances)]

    def close(self) -> None:
        """End the worker threads and free the graphs; blocks."""
        self.queue.end(len(self._workers))
        for worker in self._workers:
            worker.join()
        self.queue.close()
        self.servable.close()


class Owner:
    """Loads and unloads servables for protocol processes."""

    def __init__(self, path: str, load: LoadServable) -> None:
        """Listen.

        Args:
            path: Path of the socket.
            load: Loads a version.
        """
        self._load = load
        self._owned: dict[tuple[Any, ...], Owned] = {}
        self._loading = threading.Lock()
        self._numbers = itertools.count()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(64)

    def serve(self) -> None:
        """Accept protocol processes, for ever."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        while True:
            connection, _ = self._listener.accept()
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                connection.setsockopt(socket.SOL_SOCKET, option, 4 * WELCOME_BYTES)
            threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def _watch(self) -> None:
        """Terminate runs whose callers have gone."""
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()
            now = time.monotonic()
            for run in tuple(ACTIVE):
                run.end_if_unwanted(now)

    def look(self) -> None:
        """Read what the protocol processes have sent, also while long runs keep all threads."""
        for owned in tuple(self._owned.values()):
            owned.queue.look()

    def _welcome(self, connection: socket.socket) -> None:
        """Load what a protocol process asks for, and send a description and the slots."""
        asked = connection.recv(WELCOME_BYTES)
        if not asked:
            return
        name, version, path, own = pickle.loads(asked)  # noqa: S301 - from our own process
        try:
            with self._loading:
                self._add(connection, name, version, path, own)
        except Exception as error:  # noqa: BLE001 - raised again in the protocol process
            connection.send(pickle.dumps(error))
            connection.close()

    def _add(
        self,
        connection: socket.socket,
        name: str,
        version: int,
        path: Path,
        own: Mapping[str, int],
    ) -> None:
        key = (name, version, path, *sorted(own.items()))
        owned = self._owned.get(key)
        if owned is None:
            on_empty = partial(self._drop, key)
            owned = self._owned[key] = Owned(self._load(name, version, path, own), on_empty)
        # Each waiting row may be a request of its own. Cancelled requests keep their slots for a
        # while, so that there are some more.
        count = 2 * owned.description.batching.max_enqueued_rows
        size = slots.slot_bytes(owned.description.sizes())
        descriptor = slots.create(count, size)
        welcome = pickle.dumps((owned.description, count, size))
        link = Link(next(self._numbers), connection, Slots(os.dup(descriptor), count, size))
        owned.queue.add(link)  # first, so that the servable stays if all other processes leave now
        socket.send_fds(connection, [welcome], [descriptor])
        os.close(descriptor)

    def _drop(self, key: tuple[Any, ...]) -> None:
        """Unload a servable, unless another protocol process has come meanwhile."""
        with self._loading:
            owned = self._owned.get(key)
            if owned is not None and owned.queue.is_unused:
                del self._owned[key]
                threading.Thread(target=owned.close, daemon=True).start()
