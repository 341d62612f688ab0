"""Measure the CPU time of a request, by process: with Envoy and the server, or in Ray Serve.

    python deploy/ray/measure.py grpc 127.0.0.1:8500
    python deploy/ray/measure.py http 127.0.0.1:8000

Both send one test image a request, at a steady rate on eight connections, to this machine. The CPU
time that the processes use while nothing is sent is subtracted.
"""

import argparse
import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import grpc.aio
import numpy as np

from serving.client import PREDICT_PATH, predict_request, response_arrays
from serving.protos.tensorflow_serving_pb2 import PredictResponse

Sender = Callable[[], Awaitable[int]]

CONNECTIONS = 8
IDLE_SECONDS = 10.0
TICKS = os.sysconf("SC_CLK_TCK")
IMAGES = Path(__file__).parents[2] / "tests" / "data" / "cifar10_sample.npz"
# The first pattern that is in a command line decides; the rest of Ray is its daemons.
GROUPS = {
    "Envoy": "envoy -c ",
    "server": "-m serving ",
    "Ray Serve's proxy": "ray::ProxyActor",
    "Ray Serve's replicas": "ray::ServeReplica",
    "Ray's daemons": "ray",
}


def cpu_seconds() -> Counter[str]:
    """Return the CPU time so far of each group of processes."""
    found: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(folder.name) == os.getpid():
            continue
        group = next((name for name, part in GROUPS.items() if part in command), None)
        if group is not None:
            found[group] += (int(fields[11]) + int(fields[12])) / TICKS
    return found


async def grpc_sender(stack: AsyncExitStack, target: str, image: np.ndarray) -> Sender:
    """Return a function that calls the server, and returns the class."""
    channel = await stack.enter_async_context(
        grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
    )
    method = channel.unary_unary(PREDICT_PATH)
    body = predict_request("simcnn", {"images": image}).SerializeToString()

    async def send() -> int:
        answer = PredictResponse.FromString(await method(body, timeout=20))
        return int(response_arrays(answer)["classes"][0])

    return send


async def http_sender(stack: AsyncExitStack, target: str, image: np.ndarray) -> Sender:
    """Return a function that calls the application of in_process.py, and returns the class."""
    session = await stack.enter_async_context(aiohttp.ClientSession())
    body = image.tobytes()

    async def send() -> int:
        async with session.post(f"http://{target}/", data=body) as response:
            response.raise_for_status()
            return int(np.frombuffer(await response.read(), np.int64)[0])

    return send


async def measure(api: str, target: str, rate: float, seconds: float) -> None:
    """Send the requests, and print their number and the CPU time of each of them."""
    with np.load(IMAGES) as sample:
        image = sample["images"][:1]
    async with AsyncExitStack() as stack:
        make = grpc_sender if api == "grpc" else http_sender
        senders = [await make(stack, target, image) for _ in range(CONNECTIONS)]
        answers = Counter([await send() for send in senders])
        before = cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        idle = cpu_seconds() - before
        before, began = cpu_seconds(), time.monotonic()
        tasks = []
        for number in itertools.takewhile(lambda n: n < rate * seconds, itertools.count()):
            await asyncio.sleep(began + number / rate - time.monotonic())
            tasks.append(asyncio.create_task(senders[number % CONNECTIONS]()))
        answers.update(await asyncio.gather(*tasks))
        took = time.monotonic() - began
        used = cpu_seconds() - before
    print(f"{len(tasks)} requests in {took:.1f} s, classes {dict(answers)}")
    for name in GROUPS:
        share = used[name] - idle[name] * took / IDLE_SECONDS
        if name in used:
            print(f"  {name}: {share / len(tasks) * 1e6:,.0f} us a request")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "api", choices=["grpc", "http"], help="the server's API, or in_process.py's"
    )
    parser.add_argument("target", help="host:port on this machine")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.api, arguments.target, arguments.rate, arguments.seconds))


main()
