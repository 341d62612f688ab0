"""Predict calls at a steady rate over several connections, each with an answer of its own."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np

from serving.client import PREDICT_PATH, predict_request, response_arrays
from serving.protos.tensorflow_serving_pb2 import PredictResponse

# A call fails late rather than early: only what a balancer answers counts as lost.
_TIMEOUT_SECONDS = 20.0
_CHANNELS = 8


@dataclass
class Outcomes:
    """What became of the calls.

    Attributes:
        answered: Calls with the right answer.
        wrong: Calls with another answer.
        lost: Numbers of the calls that failed, by status.
        versions: Numbers of the right answers, by the model's version.
    """

    answered: int = 0
    wrong: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        """All calls that have ended."""
        return self.answered + self.wrong + self.lost.total()


@contextmanager
def calling(address: str, *, rate: float) -> Iterator[Outcomes]:
    """Call `identity` at a rate (calls a second) in a thread, during the block."""
    outcomes = Outcomes()
    over = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_send(address, rate, outcomes, over)), daemon=True
    )
    thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        thread.join(_TIMEOUT_SECONDS + 10)
    assert not thread.is_alive()


async def _send(address: str, rate: float, outcomes: Outcomes, over: threading.Event) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(_CHANNELS)]
    methods = [channel.unary_unary(PREDICT_PATH) for channel in channels]
    began = time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    for number in itertools.count():
        if over.is_set():
            break
        await asyncio.sleep(began + number / rate - time.monotonic())
        task = asyncio.create_task(_call(methods[number % _CHANNELS], number, outcomes))
        calls.add(task)
        task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    for channel in channels:
        await channel.close()


async def _call(method: grpc.aio.UnaryUnaryMultiCallable, number: int, outcomes: Outcomes) -> None:
    asked = np.full((1, 3), number, np.float32)
    try:
        body = await method(
            predict_request("identity", {"x": asked}).SerializeToString(), timeout=_TIMEOUT_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        outcomes.lost[f"{error.code().name}: {error.details()}"] += 1
        return
    answer = PredictResponse.FromString(body)
    if (response_arrays(answer)["y"] == asked).all():
        outcomes.answered += 1
        outcomes.versions[answer.model_spec.version.value] += 1
    else:
        outcomes.wrong += 1
