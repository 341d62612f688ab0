"""The table of HTTP routes, independent of the web server: requests, responses, handlers by path.

The ASGI application in `http_application` uses it.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.access.roles import Role
from serving.transport.limits.byte_budget import Hold

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A complete request.

    Attributes:
        method: `GET`, `POST`, ...
        path: The path, percent-decoded.
        headers: The headers by lower-case name.
        body: The body, without its content encoding.
        parameters: Values of the named groups in the route's pattern, percent-decoded; None for a
            group that did not match.
        hold: Counts the request's bytes until it is answered; None if they are not counted.
        wait_for_disconnect: Returns when the caller has cancelled the request or disconnected; None
            if that cannot be observed.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    parameters: Mapping[str, str | None]
    hold: Hold | None = None
    wait_for_disconnect: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """A response.

    Attributes:
        body: The body's bytes.
        status: HTTP status code.
        content_type: Content type of the body.
        headers: Further headers, with lower-case names.
    """

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = field(default=())


@dataclass(frozen=True)
class Route:
    """A row of the table: a handler, and the method and path of the requests that it answers.

    Attributes:
        method: HTTP method.
        pattern: Regular expression that the whole raw path must match. The values of its named
            groups are percent-decoded.
        handler: Returns the response, or raises a `ServingError`.
        role: The role that a caller needs.
        traced: Whether traces show the route's requests; see `UnaryMethod.traced`.
        described: Whether the description of the REST APIs shows the route.
    """

    method: str
    pattern: re.Pattern[str]
    handler: Callable[[HttpRequest], Awaitable[HttpResponse]]
    role: Role = field(kw_only=True)
    traced: bool = True
    described: bool = True


def json_response(document: Mapping[str, Any], *, indent: int | None = None) -> HttpResponse:
    """Return a response with a JSON object.

    Args:
        document: The object.
        indent: Spaces of each level, for people who read the response in a terminal; a newline is
            then added at the end. None writes one line without a newline.
    """
    body = json.dumps(document, indent=indent)
    return HttpResponse(body=(body if indent is None else body + "\n").encode())
