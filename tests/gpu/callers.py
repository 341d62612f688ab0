"""A process that calls a server: `python tests/gpu/callers.py`, one JSON line in, one out.

A line in names the target, a file with a serialized PredictRequest, the calls in flight and the
seconds. The line out has the answered calls, the failed ones, and the latencies. The process waits
for the next line, so that its start is not measured.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_CALL_SECONDS = 30.0
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is told to do.

    Attributes:
        target: `host:port` of the server.
        body: File with a serialized PredictRequest.
        in_flight: Calls at the same time.
        seconds: Time in which calls are started.
    """

    target: str
    body: str
    in_flight: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What processes measured, together.

    Attributes:
        seconds: Time from the first call to the last answer.
        failed: Calls that were refused or not answered.
        latencies: Seconds of every answered call.
    """

    seconds: float
    failed: int
    latencies: list[float]


class Callers:
    """Several processes that call a server at the same time."""

    def __init__(self, processes: Sequence["subprocess.Popen[str]"]) -> None:
        self._processes = processes

    def call(self, order: Order, processes: int) -> Answers:
        """Let the first processes carry out an order.

        Raises:
            RuntimeError: a process has ended.
        """
        chosen = self._processes[:processes]
        for process in chosen:
            _pipe(process.stdin).write(json.dumps(asdict(order)) + "\n")
            _pipe(process.stdin).flush()
        lines = [_pipe(process.stdout).readline() for process in chosen]
        if not all(lines):
            msg = "a process that calls the server has ended: see its error above"
            raise RuntimeError(msg)
        answers = [json.loads(line) for line in lines]
        return Answers(
            seconds=max(answer["seconds"] for answer in answers),
            failed=sum(answer["failed"] for answer in answers),
            latencies=[latency for answer in answers for latency in answer["latencies"]],
        )


@contextmanager
def start(count: int) -> Iterator[Callers]:
    """Start processes; they end with the block."""
    # -P: the modules beside this file are no libraries of the process.
    command = [sys.executable, "-P", str(Path(__file__))]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)
    ]
    try:
        yield Callers(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _pipe(stream: Any) -> Any:
    assert stream is not None
    return stream


async def _carry_out(order: Order, body: bytes) -> dict[str, Any]:
    import grpc.aio  # noqa: PLC0415 - the parent process does not need it

    latencies: list[float] = []
    failed = 0
    async with grpc.aio.insecure_channel(order.target, _OPTIONS) as channel:
        call: Any = channel.unary_unary(_PREDICT)
        await channel.channel_ready()
        began = time.perf_counter()

        async def caller() -> None:
            nonlocal failed
            while (sent := time.perf_counter()) < began + order.seconds:
                try:
                    await call(body, timeout=_CALL_SECONDS)
                except grpc.RpcError:
                    failed += 1
                else:
                    latencies.append(time.perf_counter() - sent)

        await asyncio.gather(*(caller() for _ in range(order.in_flight)))
    return {"seconds": time.perf_counter() - began, "failed": failed, "latencies": latencies}


if __name__ == "__main__":
    for line in sys.stdin:
        given = Order(**json.loads(line))
        measured = asyncio.run(_carry_out(given, Path(given.body).read_bytes()))
        print(json.dumps(measured), flush=True)
