"""HTTP routes as a table, free of any web server: requests, answers, handlers by path."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.transport.limits.byte_budget import Hold

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request, read to its end.

    Attributes:
        method: `GET`, `POST`, ...
        path: Percent-encoding undone.
        headers: By lower-case name.
        body: As it came.
        parameters: The named parts of the route's pattern.
        hold: Counts the request's bytes until it is answered; None: nobody does.
        peer: The caller's end of the connection, address and port.
        wait_for_disconnect: Returns when the caller has given up or is gone; None: nobody knows.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    parameters: Mapping[str, str | None]
    hold: Hold | None = None
    peer: str = ""
    wait_for_disconnect: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """An answer.

    Attributes:
        body: As it goes out.
        status: HTTP status code.
        content_type: Of the body.
        headers: Further headers, lower-case names.
    """

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = field(default=())


@dataclass(frozen=True)
class Route:
    """Which handler answers which requests.

    Attributes:
        method: HTTP method.
        pattern: Regular expression that the whole path must match; its named groups are decoded.
        handler: Answers, or raises a `ServingError`.
        traced: Whether a trace shows its requests; see `UnaryMethod.traced`.
    """

    method: str
    pattern: re.Pattern[str]
    handler: Callable[[HttpRequest], Awaitable[HttpResponse]]
    traced: bool = True


def json_response(document: Mapping[str, Any], *, indent: int | None = None) -> HttpResponse:
    """An answer with a JSON object.

    Args:
        document: The object.
        indent: Spaces a level, and a newline at the end, for answers that people read in a
            terminal; None writes one line without either.
    """
    body = json.dumps(document, indent=indent)
    return HttpResponse(body=(body if indent is None else body + "\n").encode())
