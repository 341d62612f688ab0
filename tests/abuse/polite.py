"""The polite callers of a row, in a separate process: `python -m abuse.polite HOST:PORT FILE`.

One caller connects before the attack and keeps calling. The other opens a new connection every few
hundred milliseconds. Each call is recorded as a line of JSON in the file. The callers stop when
standard input ends.
"""

import json
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
from abuse.attacks import wire

from serving.client import PredictClient, predict_request, response_arrays
from serving.protos.tensorflow_serving_pb2 import PredictResponse

CALL_SECONDS = 15.0
BEFORE, NEW = "before", "new"
_PAUSE_SECONDS = 0.002
_NEW_EVERY_SECONDS = 0.3
_RETRY_SECONDS = 0.1


def inputs(number: int) -> dict[str, np.ndarray]:
    """Return a row that no other call sends, so that an answer to another caller is detected."""
    return {"x": np.array([[number, number + 0.25, -number]], np.float32)}


def is_right(number: int, outputs: dict[str, np.ndarray]) -> bool:
    return outputs["y"].tolist() == inputs(number)["x"].tolist()


def ask_anew(address: wire.Address, number: int, seconds: float) -> str:
    """Make a call on a new connection, with retries; return the problem, empty if answered."""
    give_up_at = time.monotonic() + seconds
    body = wire.grpc_body(predict_request("identity", inputs(number)).SerializeToString())
    problem = "no attempt"
    while (left := give_up_at - time.monotonic()) > 0:
        connection = None
        try:
            connection = wire.Connection(address, source=wire.POLITE_HOST, timeout=left)
            stream = connection.request(wire.grpc_fields(wire.PREDICT), body)
            if not connection.answers([stream], give_up_at):
                return f"no answer within {seconds} s"
            answer = connection.bodies.get(stream, b"")
            if len(answer) < 5:
                problem = "an error instead of an answer"
            else:
                (size,) = struct.unpack(">I", answer[1:5])
                response = PredictResponse.FromString(answer[5 : 5 + size])
                return "" if is_right(number, response_arrays(response)) else "a wrong answer"
        except OSError as error:
            problem = repr(error)
        finally:
            if connection is not None:
                connection.close()
        time.sleep(_RETRY_SECONDS)
    return problem


class Callers:
    """Runs both callers and writes their calls to a file."""

    def __init__(self, target: str, file: Path) -> None:
        host, _, port = target.rpartition(":")
        self._target = target
        self._address = (host, int(port))
        self._file = file.open("w", buffering=1)
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Call until standard input ends."""
        threads = [
            threading.Thread(target=self._stay_connected, daemon=True),
            threading.Thread(target=self._come_anew, daemon=True),
        ]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._stopping.set()
        for thread in threads:
            thread.join()

    def _record(self, kind: str, started: float, problem: str) -> None:
        line = {"kind": kind, "at": started, "seconds": time.monotonic() - started}
        with self._lock:
            self._file.write(json.dumps(line | ({"problem": problem} if problem else {})) + "\n")

    def _stay_connected(self) -> None:
        number = 0
        with PredictClient(self._target, timeout=CALL_SECONDS) as client:
            while not self._stopping.is_set():
                number = (number + 1) % 100_000
                started = time.monotonic()
                try:
                    right = is_right(number, client.predict("identity", inputs(number)))
                    problem = "" if right else "a wrong answer"
                except Exception as error:  # noqa: BLE001 - every problem is recorded
                    problem = f"{type(error).__name__}: {error}"[:300]
                self._record(BEFORE, started, problem)
                time.sleep(_PAUSE_SECONDS)

    def _come_anew(self) -> None:
        number = 200_000
        while not self._stopping.wait(_NEW_EVERY_SECONDS):
            number += 1
            started = time.monotonic()
            self._record(NEW, started, ask_anew(self._address, number, CALL_SECONDS))


if __name__ == "__main__":
    Callers(sys.argv[1], Path(sys.argv[2])).run()
