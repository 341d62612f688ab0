"""Predict calls of one image each: at random times at a rate, or one after the other."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np

from serving.client import PREDICT_PATH, predict_request

_TIMEOUT_SECONDS = 30.0
_CHANNELS = 8
_TIMING = (("x-server-timing", "1"),)
_COMPUTE = re.compile(r"compute;dur=([\d.]+)")


@dataclass
class Calls:
    """Calls that have ended.

    Attributes:
        latencies: Seconds of the answered calls of the measured time, from when they were due.
        compute: Seconds of the run of each of them, as the server reports it; only calls one after
            the other ask for it.
        kinds: Which of the requests each of them was; only calls one after the other have it.
        late: Seconds that each was sent after it was due.
        lost: Calls that failed.
        cpu_seconds: CPU seconds of this process during all calls.
        seconds: Seconds from the first call to the end of the last.
    """

    latencies: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    lost: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """All calls."""
        return len(self.latencies) + self.lost


def body(model: str, rows: int) -> bytes:
    """Return a Predict of random CIFAR-10 images for one of the bundled models."""
    images = np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)
    return predict_request(model, {"images": images}).SerializeToString()


def open_loop(
    addresses: Sequence[str], request: bytes, *, rate: float, seconds: float, seed: int
) -> Calls:
    """Call at random times, which do not wait for answers: Poisson arrivals.

    Args:
        addresses: `host:port` of a balancer or of servers, which are called in turns.
        request: The call's body.
        rate: Calls a second.
        seconds: Length of the arrivals.
        seed: Decides the times.
    """
    return asyncio.run(_timed(_open_loop(addresses, request, rate, seconds, random.Random(seed))))


def one_by_one(addresses: Sequence[str], requests: Sequence[bytes], *, seconds: float) -> Calls:
    """Call all addresses at the same time with the requests in turns, one call each at a time."""
    return asyncio.run(_timed(_one_by_one(addresses, requests, seconds)))


async def _timed(sent: Awaitable[Calls]) -> Calls:
    cpu, began = time.process_time(), time.monotonic()
    calls = await sent
    calls.cpu_seconds, calls.seconds = time.process_time() - cpu, time.monotonic() - began
    return calls


def _channels(addresses: Sequence[str]) -> list[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [
        grpc.aio.insecure_channel(addresses[number % len(addresses)], options)
        for number in range(_CHANNELS)
    ]


async def _open_loop(
    addresses: Sequence[str], request: bytes, rate: float, seconds: float, chance: random.Random
) -> Calls:
    calls = Calls()
    channels = _channels(addresses)
    methods = [channel.unary_unary(PREDICT_PATH) for channel in channels]
    for method in methods:  # connects
        await method(request, timeout=_TIMEOUT_SECONDS)
    tasks: set[asyncio.Task[None]] = set()
    due = time.monotonic() + 0.1
    until = due + seconds
    number = 0
    while (due := due + chance.expovariate(rate)) < until:
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(_call(methods[number % _CHANNELS], request, due, calls))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    return calls


async def _call(
    method: grpc.aio.UnaryUnaryMultiCallable, request: bytes, due: float, calls: Calls
) -> None:
    sent = time.monotonic()
    try:
        await method(request, timeout=_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError:
        calls.lost += 1
        return
    calls.latencies.append(time.monotonic() - due)
    calls.late.append(sent - due)


async def _one_by_one(addresses: Sequence[str], requests: Sequence[bytes], seconds: float) -> Calls:
    calls = Calls()

    async def call(address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options) as channel:
            method = channel.unary_unary(PREDICT_PATH)
            await method(requests[0], timeout=_TIMEOUT_SECONDS)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for kind, request in enumerate(requests):
                    sent = time.monotonic()
                    answer = method(request, timeout=_TIMEOUT_SECONDS, metadata=_TIMING)
                    await answer
                    calls.latencies.append(time.monotonic() - sent)
                    calls.kinds.append(kind)
                    calls.compute.append(_compute_seconds(await answer.trailing_metadata()))

    await asyncio.gather(*map(call, addresses))
    return calls


def _compute_seconds(trailers: Sequence[tuple[str, str | bytes]]) -> float:
    timing = str(dict(trailers).get("server-timing"))
    found = _COMPUTE.search(timing)
    if found is None:
        msg = f"the trailer server-timing is {timing!r}, expected compute;dur=MILLISECONDS in it"
        raise ValueError(msg)
    return float(found[1]) / 1e3
