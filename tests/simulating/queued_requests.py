"""Requests for a batcher's queue, and the order in which the queue gives them out."""

import numpy as np

from serving.engine.batching.request_queue import Group, Request, RequestQueue


def make_request(loop, rows: int | None = 1, flow: str | None = None) -> Request:
    return Request(
        group=Group("s", ("y",), ((),)),
        waiting_inputs={"x": np.zeros(rows or 1)},
        rows=rows,
        deadline=None,
        future=loop.create_future(),
        queued=0.0,
        times=None,
        flow=flow,
    )


def put(queue: RequestQueue, loop, *flows: str, rows: int | None = 1) -> None:
    """Add a request of each flow, in this order."""
    for flow in flows:
        queue.put(make_request(loop, rows, flow))


def flows_taken(queue: RequestQueue) -> str:
    """Take all requests; return their flows, one letter each, in the order of their turns."""
    return "".join(str(request.flow) for request in iter(queue.take, None))
