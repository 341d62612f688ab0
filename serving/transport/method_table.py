"""RPC methods as a table, free of any transport.

A front end looks the path of a call up and hands the request to the handler.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from serving.errors import InvalidInput
from serving.protos.parsed_size import parsed_bytes
from serving.transport.limits.byte_budget import Hold

# Messages of fewer bytes are not counted again while they are parsed.
_LARGE_BYTES = 1 << 20

Request = TypeVar("Request")


class Response(Protocol):
    """A message, or what takes its place."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes of the message."""
        ...


class Call(NamedTuple):
    """What a handler may know about the call it answers.

    Attributes:
        deadline: `time.monotonic()` after which the client has given up; None if it waits forever.
        headers: The call's metadata, lower-case names.
        hold: Counts the call's bytes until it is answered; None: nobody does.
    """

    deadline: float | None = None
    headers: Mapping[bytes, bytes] = MappingProxyType({})
    hold: Hold | None = None


@dataclass(frozen=True, kw_only=True)
class UnaryMethod(Generic[Request]):
    """One request, one response.

    Attributes:
        path: `/package.Service/Method`, as in HTTP/2's `:path`.
        request_type: Message class of the request.
        handler: Answers with a message, or raises a `ServingError`.
        parse: Makes the request of its bytes, or raises DecodeError; by default the message
            class does.
        traced: Whether a trace shows its calls. What orchestrators ask every few seconds would
            bury the calls that do something.
    """

    path: str
    request_type: type[Request]
    handler: Callable[[Request, Call], Awaitable[Response]]
    parse: Callable[[bytes], Request] | None = None
    traced: bool = True


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


def parse(method: Method, message: bytes, hold: Hold | None = None) -> Any:  # noqa: ANN401 - a request of any type
    """The request of a call.

    Args:
        method: Which takes it.
        message: Serialized.
        hold: Counts what a large one takes once it is parsed; None: nobody does.

    Raises:
        InvalidInput: the bytes are no such message, or see `Hold.take`.
        Unavailable: see `Hold.take`.
    """
    if hold is not None and len(message) > _LARGE_BYTES:
        hold.take(parsed_bytes(message, method.request_type.DESCRIPTOR))
    try:
        if isinstance(method, UnaryMethod) and method.parse:
            return method.parse(message)
        return method.request_type.FromString(message)
    except DecodeError as error:
        name = method.request_type.DESCRIPTOR.full_name
        msg = f"request of {len(message)} bytes is not a {name} message"
        raise InvalidInput(msg) from error


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
