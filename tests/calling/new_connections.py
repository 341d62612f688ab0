"""Callers that open a new connection for each call, and the time that each waits for its answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

# Channels with this option do not share a connection.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_PATIENCE_SECONDS = 20.0


@dataclass
class Waits:
    """The outcomes of the callers.

    Attributes:
        seconds: Pairs of the start of a call (`time.monotonic()`) and its time until the answer,
            repetitions after a lost connection included.
        repeated: How many calls were repeated because their connection was lost.
        errors: The errors of calls that failed for another reason.
    """

    seconds: list[tuple[float, float]] = field(default_factory=list)
    repeated: int = 0
    errors: list[str] = field(default_factory=list)

    def longest(self, since: float, until: float) -> float:
        """Return the longest wait in seconds of the calls that began in a span of time."""
        return max(wait for began, wait in self.seconds if since <= began <= until)


@contextmanager
def calling(address: str, path: str, body: bytes, *, callers: int = 4) -> Iterator[Waits]:
    """Call a method over new connections, one after another in each caller, during the block."""
    waits = Waits()
    over = threading.Event()

    def call() -> None:
        began = time.monotonic()
        while time.monotonic() - began < _PATIENCE_SECONDS:
            with grpc.insecure_channel(address, _OWN_CONNECTION) as channel:
                try:
                    channel.unary_unary(path)(body, timeout=_PATIENCE_SECONDS)
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        waits.errors.append(str(error))
                        break
                    waits.repeated += 1
                    continue
            break
        waits.seconds.append((began, time.monotonic() - began))

    def repeat() -> None:
        while not over.is_set():
            call()
            time.sleep(0.01)

    threads = [threading.Thread(target=repeat, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        over.set()
        for thread in threads:
            thread.join(2 * _PATIENCE_SECONDS)
