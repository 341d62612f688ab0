"""Read the JSON of a request: in the event loop if that is quick, otherwise in a child process."""

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
    """Read a request's body with a function, and return the function's result.

    Args:
        processes: Child processes that read large bodies, and bodies that need the slow reader.
        request: The request whose body is read.
        function: A function at a module's top level; it takes the body, `arguments` and the keyword
            `may_be_slow`.
        *arguments: Further arguments of the function; pickled if a child process reads the body.

    Raises:
        ServingError: an error that the function raises, or see `JsonProcesses.run_for`.
    """
    size = len(request.body)
    if SLOW_IN_LOOP_BYTES < size <= LARGE_BYTES:
        return _read_quickly(processes, request, function, *arguments)
    return processes.run_for(request, size, function, request.body, *arguments)


async def _read_quickly(
    processes: JsonProcesses,
    request: HttpRequest,
    function: Callable[..., Result],
    *arguments: Any,  # noqa: ANN401 - the function decides their types
) -> Result:
    try:
        return function(request.body, *arguments, may_be_slow=False)
    except SlowError:
        pass
    size = LARGE_BYTES + 1  # a size for which a child process is used
    return await processes.run_for(request, size, function, request.body, *arguments)
