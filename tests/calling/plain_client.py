"""A plain gRPC client, the yardstick of a load test: a stopwatch around each call, and no more.

`python tests/calling/plain_client.py TARGET REQUESTS` reads request bodies from standard input, as
lines of base64, and sends them in turns. It prints the latencies in nanoseconds as JSON, in order
of the requests. With `--users` it is a closed loop. With `--due FILE` it sends at the times of that
file (JSON, in nanoseconds from the start), and latencies count from these times.
"""

import argparse
import asyncio
import base64
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import grpc
import grpc.aio
from running.stub_server import sleep_until

from serving.client import PREDICT_PATH


async def measure(options: argparse.Namespace, bodies: list[bytes]) -> list[int]:
    """Send the untimed requests, then the timed ones; return the latencies in nanoseconds."""
    if options.ca is None:
        channel = grpc.aio.insecure_channel(options.target)
    else:
        credentials = grpc.ssl_channel_credentials(options.ca.read_bytes())
        channel = grpc.aio.secure_channel(options.target, credentials)
    async with channel:
        call = channel.unary_unary(PREDICT_PATH)
        for number in range(options.uncounted):
            await call(bodies[number % len(bodies)])
        latencies = [0] * options.requests
        if options.due is None:
            numbers = iter(range(options.requests))

            async def user() -> None:
                for number in numbers:
                    begun = time.monotonic_ns()
                    await call(bodies[number % len(bodies)])
                    latencies[number] = time.monotonic_ns() - begun

            await asyncio.gather(*(user() for _ in range(options.users)))
            return latencies

        async def due(number: int, begun: int) -> None:
            await call(bodies[number % len(bodies)])
            latencies[number] = time.monotonic_ns() - begun

        start, start_ns = time.perf_counter() + 0.1, time.monotonic_ns() + 100_000_000
        calls = []
        for number, offset in enumerate(json.loads(options.due.read_text())):
            await sleep_until(start + offset / 1e9)
            calls.append(asyncio.create_task(due(number, start_ns + offset)))
        await asyncio.gather(*calls)
        return latencies


def main() -> None:
    """Read the bodies, measure, and print the latencies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("requests", type=int)
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--uncounted", type=int, default=0)
    parser.add_argument("--due", type=Path)
    parser.add_argument("--ca", type=Path)
    options = parser.parse_args()
    bodies = [base64.b64decode(line) for line in sys.stdin]
    print(json.dumps(asyncio.run(measure(options, bodies))))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
