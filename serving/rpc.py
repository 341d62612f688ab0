"""RPC methods as a table, free of any transport.

A front end looks the path of a call up and hands the request to the handler.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

Request = TypeVar("Request", bound=Message)


class Call(NamedTuple):
    """What a handler may know about the call it answers.

    Attributes:
        deadline: `time.monotonic()` after which the client has given up; None if it waits forever.
        headers: The call's metadata, lower-case names.
    """

    deadline: float | None = None
    headers: Mapping[bytes, bytes] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class UnaryMethod(Generic[Request]):
    """One request, one response.

    Attributes:
        path: `/package.Service/Method`, as in HTTP/2's `:path`.
        request_type: Message class to parse the request with.
        handler: Answers with a message, or raises a `ServingError`.
    """

    path: str
    request_type: type[Request]
    handler: Callable[[Request, Call], Awaitable[Message]]


@dataclass(frozen=True, kw_only=True)
class StreamMethod(Generic[Request]):
    """Any number of requests, any number of responses; off the hot path.

    Attributes:
        path: `/package.Service/Method`.
        request_type: Message class to parse each request with.
        handler: Takes the requests as they arrive and yields the responses. It is cancelled when
            the client goes away.
    """

    path: str
    request_type: type[Request]
    handler: Callable[[AsyncIterator[Request], Call], AsyncIterator[Message]]


Method = UnaryMethod[Any] | StreamMethod[Any]


def method_table(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by path.

    Raises:
        ValueError: two methods share a path.
    """
    table: dict[str, Method] = {}
    for method in methods:
        if method.path in table:
            msg = f"two methods have the path {method.path}"
            raise ValueError(msg)
        table[method.path] = method
    return table
