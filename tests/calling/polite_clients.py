"""Well-behaved clients during an attack: one connected before it, and new ones during it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from running import servers

from serving.client import PREDICT_PATH, predict_request

# Seconds: far more than any call takes, and less than a starved client waits.
PATIENCE_SECONDS = 20
_BODY = predict_request("identity", {"x": np.ones((1, 3), np.float32)}).SerializeToString()
# With this option channels do not share a connection.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Polite:
    """Calls of `identity`: the number of answered ones, and the errors of the others."""

    answered: int = 0
    errors: list[str] = field(default_factory=list)

    def call(self, channel: grpc.Channel) -> None:
        """Send one request and count its outcome."""
        try:
            channel.unary_unary(PREDICT_PATH)(_BODY, timeout=PATIENCE_SECONDS, wait_for_ready=True)
            self.answered += 1
        except grpc.RpcError as error:
            self.errors.append(str(error))


@contextmanager
def beside(address: str) -> Iterator[Polite]:
    """Send requests from both kinds of clients while the `with` block runs the attack."""
    polite = Polite()
    over = threading.Event()
    with grpc.insecure_channel(address, _OPTIONS) as connected:
        polite.call(connected)

        def call_both() -> None:
            ended = False
            while not ended:
                ended = over.is_set()  # both call at least once more after the attack
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
    """Start a server in another process, away from the attacker's; yield address and pid."""
    every = ("--models_dir", str(models_dir), "--port", "0", *flags)
    with servers.as_process(*every) as process:
        port = process.wait_for(r"listening on .*:(\d+)")[1]
        process.wait_for("ready: ")
        yield f"127.0.0.1:{port}", process.process.pid


def peak_bytes(pid: int) -> int:
    """Return the peak resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10
