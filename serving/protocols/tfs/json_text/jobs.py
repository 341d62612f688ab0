"""Where the JSON of a request is read: in the event loop as long as that is quick."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from serving.protocols.json_process import LARGE_BYTES, JsonProcesses
from serving.protocols.tfs.json_text.document import SLOW_IN_LOOP_BYTES, SlowError
from serving.transport.route_table import HttpRequest

Result = TypeVar("Result")


def read(
    processes: JsonProcesses,
    request: HttpRequest,
    function: Callable[..., Result],
    *arguments: object,
) -> Awaitable[Result]:
    """Read a request's body.

    Args:
        processes: Read what is large, or takes the slow reader.
        request: Its body is read on its behalf.
        function: Of a module's top level; takes the body, the arguments and `may_be_slow`.
        *arguments: Pickled.

    Raises:
        ServingError: what the function raises, or see `JsonProcesses.run_for`.
    """
    size = len(request.body)
    if SLOW_IN_LOOP_BYTES < size <= LARGE_BYTES:
        return _read_quickly(processes, request, function, *arguments)
    return processes.run_for(request, size, function, request.body, *arguments)


async def _read_quickly(
    processes: JsonProcesses,
    request: HttpRequest,
    function: Callable[..., Result],
    *arguments: Any,  # noqa: ANN401 - whatever the function takes
) -> Result:
    try:
        return function(request.body, *arguments, may_be_slow=False)
    except SlowError:
        pass
    size = LARGE_BYTES + 1  # so that a child reads it
    return await processes.run_for(request, size, function, request.body, *arguments)
