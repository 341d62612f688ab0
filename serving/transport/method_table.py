"""The table of RPC methods, independent of the gRPC front end.

A front end finds the method by the call's path and passes the request to the method's handler.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from serving.access.roles import Role
from serving.errors import InvalidInput
from serving.protos.parsed_size import parsed_bytes
from serving.transport.limits.byte_budget import Hold

# Only for messages larger than this does the byte budget count the memory of the parsed message.
_LARGE_BYTES = 1 << 20

Request = TypeVar("Request")


class Response(Protocol):
    """A protobuf message, or an object that serializes like one."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the bytes of the message."""
        ...


class Call(NamedTuple):
    """The properties of a call that a handler gets in addition to the request.

    Attributes:
        deadline: `time.monotonic()` after which the client has given up; None if it waits forever.
        headers: The call's metadata, with lower-case names.
        hold: Counts the call's bytes until it is answered; None if they are not counted.
    """

    deadline: float | None = None
    headers: Mapping[bytes, bytes] = MappingProxyType({})
    hold: Hold | None = None


@dataclass(frozen=True, kw_only=True)
class UnaryMethod(Generic[Request]):
    """A method with one request and one response.

    Attributes:
        path: `/package.Service/Method`, as in HTTP/2's `:path`.
        request_type: Message class of the request.
        handler: Returns the response message, or raises a `ServingError`.
        role: The role that a caller needs.
        parse: Parses the request's bytes, or raises DecodeError; None: `request_type` parses them.
        traced: Whether traces show the method's calls. It is False for methods that orchestrators
            call every few seconds: their spans would bury the others.
    """

    path: str
    request_type: type[Request]
    handler: Callable[[Request, Call], Awaitable[Response]]
    role: Role
    parse: Callable[[bytes], Request] | None = None
    traced: bool = True


@dataclass(frozen=True, kw_only=True)
class StreamMethod(Generic[Request]):
    """A method with any number of requests and responses; not used for inference on the hot path.

    Attributes:
        path: `/package.Service/Method`.
        request_type: Message class of each request.
        handler: Takes the requests as they arrive and yields the responses. It is cancelled when
            the client goes away.
        role: The role that a caller needs.
    """

    path: str
    request_type: type[Request]
    handler: Callable[[AsyncIterator[Request], Call], AsyncIterator[Message]]
    role: Role


Method = UnaryMethod[Any] | StreamMethod[Any]


def parse(method: Method, message: bytes, hold: Hold | None = None) -> Any:  # noqa: ANN401 - a request of any type
    """Parse the request of a call.

    Args:
        method: The called method.
        message: The serialized request.
        hold: Counts the memory that a large message takes once it is parsed; None: it is not
            counted.

    Returns:
        The request: a message of `method.request_type`, or the result of `method.parse`.

    Raises:
        InvalidInput: the bytes are not a message of this type, or see `Hold.take`.
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
    """Return the methods by path.

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
