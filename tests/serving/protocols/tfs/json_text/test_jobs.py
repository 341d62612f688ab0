import asyncio
import os

import pytest

from serving.protocols.json_process import LARGE_BYTES, JsonProcesses
from serving.protocols.tfs import json_predict
from serving.protocols.tfs.json_text import jobs
from serving.protocols.tfs.json_text.document import SLOW_IN_LOOP_BYTES
from serving.transport.route_table import HttpRequest


class CountedProcesses(JsonProcesses):
    """Processes that record the sizes of the jobs that run in a child."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def run_for(self, request, size, function, *args, **kwargs):
        """Run a job; if it is large, check that it runs in a child and record its size."""
        if size > LARGE_BYTES:
            self.sizes.append(size)
            assert await super().run_for(request, size, os.getpid) != os.getpid()
        return await super().run_for(request, size, function, *args, **kwargs)


def read(body: bytes) -> tuple[object, list[int]]:
    """Return the value of a body, and the sizes of the jobs that ran in a child."""

    async def scenario():
        processes = CountedProcesses()
        request = HttpRequest(method="POST", path="/", headers={}, body=body, parameters={})
        try:
            return await jobs.read(processes, request, json_predict.parse), processes.sizes
        finally:
            await processes.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("document", "size", "in_child"),
    [
        (b'{"a": 1}', 100, False),
        (b'{"a": 1}', SLOW_IN_LOOP_BYTES + 1, False),
        (b'{"a": 1}', LARGE_BYTES + 1, True),
        (b'{"a": 1, "a": 2}', SLOW_IN_LOOP_BYTES, False),
        (b'{"a": 1, "a": 2}', SLOW_IN_LOOP_BYTES + 1, True),
        (b'{"a": 1, "a": 2}', LARGE_BYTES, True),
        (b'{"a": 1, "a": 2}', LARGE_BYTES + 1, True),
    ],
)
def test_a_child_reads_what_is_large_or_slow(document, size, in_child):
    """A child reads large bodies, and long ones for the slow reader; the loop reads the rest."""
    value, sizes = read(document.rjust(size))

    assert value == {"a": 1}
    assert bool(sizes) is in_child
