"""An application with two gRPC methods that answer in capitals, and calls without a server."""

import asyncio

from google.protobuf.wrappers_pb2 import StringValue

from serving.transport import grpc_wire
from serving.transport.method_table import Call

MAX_MESSAGE_BYTES = 1000
MAX_BUFFERED_BYTES = 1500
CALLS: list[Call] = []


async def shout(request: StringValue, call: Call) -> StringValue:
    CALLS.append(call)
    if request.value == "bug":
        msg = "secret"
        raise RuntimeError(msg)
    return StringValue(value=request.value.upper())


async def shout_each(requests, call):
    async for request in requests:
        await asyncio.sleep(0.01)  # other requests run first, as they do while a model runs
        yield await shout(request, call)


def frame(text: str) -> bytes:
    return grpc_wire.frame(StringValue(value=text).SerializeToString())


def call(application, chunks, path="/s/Shout", headers=(), *, goes_away=False):
    """Send a body in chunks; return the events that the application sent."""
    events = [
        {"type": "http.request", "body": chunk, "more_body": position < len(chunks) - 1}
        for position, chunk in enumerate(chunks)
    ]
    if goes_away:
        events[-1:] = [{"type": "http.disconnect"}]
    sent = []

    async def receive():
        if events:
            return events.pop(0)
        await asyncio.sleep(10)
        return {"type": "http.disconnect"}

    async def send(event):
        sent.append(event)

    scope = {
        "type": "http",
        "path": path,
        "headers": [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *headers],
    }
    asyncio.run(application(scope, receive, send))
    return sent


def status(events) -> tuple[int, str]:
    headers = {}
    for event in events:
        headers |= dict(event.get("headers", ()))
    return int(headers[b"grpc-status"]), headers.get(b"grpc-message", b"").decode()


def answers(events) -> list[str]:
    bodies = [event["body"] for event in events if event["type"] == "http.response.body"]
    return [StringValue.FromString(body[5:]).value for body in bodies if body]


def call_at_once(application, count: int, body: bytes, path: str = "/s/Shout") -> list[dict]:
    """Send `count` requests in two pieces each; second pieces wait until all first ones arrived."""
    waiting = asyncio.Event()
    arrived = 0

    async def one():
        pieces = [body[:-1], body[-1:]]
        sent = []

        async def receive():
            nonlocal arrived
            if len(pieces) == 1:
                arrived += 1
                if arrived == count:
                    waiting.set()
                await asyncio.wait_for(waiting.wait(), 0.5)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(event):
            sent.append(event)

        headers = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        await application({"type": "http", "path": path, "headers": headers}, receive, send)
        return sent

    async def all_of_them():
        return await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)

    return asyncio.run(all_of_them())
