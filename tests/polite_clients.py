"""Clients that behave, beside an attack: one that was connected before, and new ones during it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import servers

from serving.client import PREDICT_PATH, predict_request

# Far more than any call takes; whoever is starved waits longer.
PATIENCE_SECONDS = 20
_BODY = predict_request("identity", {"x": np.ones((1, 3), np.float32)}).SerializeToString()
# Each channel then has a connection of its own.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Polite:
    """Calls of `identity`: how many were answered, and what went wrong with the others."""

    answered: int = 0
    errors: list[str] = field(default_factory=list)

    def call(self, channel: grpc.Channel) -> None:
        """Ask once."""
        try:
            channel.unary_unary(PREDICT_PATH)(_BODY, timeout=PATIENCE_SECONDS, wait_for_ready=True)
            self.answered += 1
        except grpc.RpcError as error:
            self.errors.append(str(error))


@contextmanager
def beside(address: str) -> Iterator[Polite]:
    """While the attack of the `with` block runs, both kinds call again and again."""
    polite = Polite()
    over = threading.Event()
    with grpc.insecure_channel(address, _OPTIONS) as connected:
        polite.call(connected)

        def call_both() -> None:
            ended = False
            while not ended:
                ended = over.is_set()  # both are called once more after the attack at least
                polite.call(connected)
                with grpc.insecure_channel(address, _OPTIONS) as new:
                    polite.call(new)

        thread = threading.Thread(target=call_both, daemon=True)
        thread.start()
        try:
            yield polite
        finally:
            over.set()
            thread.join()


@contextmanager
def server(models_dir: Path, *flags: str) -> Iterator[tuple[str, int]]:
    """A server as a process of its own, so that an attack costs this one nothing: address, pid."""
    every = ("--models_dir", str(models_dir), "--port", "0", *flags)
    with servers.as_process(*every) as process:
        port = process.wait_for(r"listening on .*:(\d+)")[1]
        process.wait_for("ready: ")
        yield f"127.0.0.1:{port}", process.process.pid


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10
