"""Clients in a closed loop, in a process of their own.

`python -m abuse.attacks.callers HOST:PORT CLIENTS IN_FLIGHT ROWS SECONDS`: so many clients, each
with a connection and so many requests in flight, send Predicts of so many rows to the model simcnn.
The process prints `ready` once every client has been answered, waits for a line on standard input,
and then prints the number of answers and of failures in the time that it measured, as JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import grpc
import grpc.aio
import numpy as np

from serving.client import predict_request

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CALL_SECONDS = 60.0


async def keep_calling(channel: grpc.aio.Channel, message: bytes, counts: Counter[str]) -> None:
    """Send one request after the other until cancelled; count every outcome."""
    call = channel.unary_unary(PREDICT)
    while True:
        try:
            await call(message, timeout=CALL_SECONDS)
            counts["answered"] += 1
        except grpc.aio.AioRpcError as error:
            counts[error.code().name] += 1
            await asyncio.sleep(0.01)


async def main() -> None:
    target, *numbers = sys.argv[1:]
    clients, in_flight, rows = map(int, numbers[:3])
    seconds = float(numbers[3])
    images = np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)
    message = predict_request("simcnn", {"images": images}).SerializeToString()
    channels = [
        grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(clients)
    ]
    for channel in channels:
        await channel.unary_unary(PREDICT)(message, timeout=CALL_SECONDS)
    print("ready", flush=True)  # noqa: T201 - read by the parent
    counts: Counter[str] = Counter()
    callers = [
        asyncio.create_task(keep_calling(channel, message, counts))
        for channel in channels
        for _ in range(in_flight)
    ]
    await asyncio.to_thread(sys.stdin.readline)
    began, before = time.monotonic(), counts.copy()
    await asyncio.sleep(seconds)
    elapsed, measured = time.monotonic() - began, counts - before
    print(json.dumps({"seconds": elapsed, "counts": measured}), flush=True)  # noqa: T201 - as above
    await asyncio.to_thread(sys.stdin.readline)  # call on until the others have measured too
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.gather(*(channel.close() for channel in channels))


if __name__ == "__main__":
    asyncio.run(main())
