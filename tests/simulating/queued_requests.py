"""Requests for a batcher's queue, and the order in which the queue gives them out."""

import numpy as np

from serving.engine.batching.request_queue import Request, RequestQueue


def make_request(loop, rows: int | None = 1, flow: str | None = None) -> Request:
    return Request(
        signature_name="s",
        waiting_inputs={"x": np.zeros(rows or 1)},
        outputs=["y"],
        rows=rows,
        deadline=None,
        group=None,
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
