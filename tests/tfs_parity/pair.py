"""A request, the answer that TensorFlow Serving gives it, and where its sources say so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# TensorFlow Serving's ToHTTPStatusCode (model_servers/http_server.cc).
HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


@dataclass(frozen=True, kw_only=True)
class Rest:
    """An HTTP request.

    Attributes:
        path: As it stands on the request line, still percent-encoded.
        body: As it is sent.
        method: GET, POST, ...
        headers: Beside those that every request has.
    """

    path: str
    body: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body}".strip()


@dataclass(frozen=True, kw_only=True)
class Grpc:
    """A gRPC call.

    Attributes:
        method: Of PredictionService or ModelService.
        message: The request in protobuf's text format; `{models}` stands for the folder of models.
    """

    method: str
    message: str

    def __str__(self) -> str:
        return f"{self.method} {self.message}".strip()


@dataclass(frozen=True)
class Ok:
    """An answer.

    Attributes:
        content: The whole of it: a JSON document, or a message in protobuf's text format. JSON's
            1 and 1.0 are different, NaN equals NaN, names of an object have no order.
        single: Compare JSON's numbers as float32: TensorFlow Serving writes up to nine digits of
            them, which need not be the shortest ones that say the same number.
    """

    content: Any
    single: bool = False


@dataclass(frozen=True)
class Refused:
    """An error.

    Attributes:
        code: The gRPC code; over REST that of `HTTP_STATUS`.
        begins: What the message begins with: where TensorFlow Serving's message is whole, this
            server may add a hint behind it.
        has: A part of the message, where TensorFlow Serving's own test looks for no more.
    """

    code: str
    begins: str = ""
    has: str = ""


@dataclass(frozen=True)
class Status:
    """An HTTP status whose body says nothing that a client could read."""

    status: int


Request = Rest | Grpc
Answer = Ok | Refused | Status
# `main` serves every model, `reloadable` half_plus_two until it is told otherwise, and
# `lenient_labels` likewise, with --allow_version_labels_for_unavailable_models.
Server = Literal["main", "reloadable", "lenient_labels"]


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Where this server answers otherwise on purpose.

    Attributes:
        reason: Why, for the table in docs/parity.md.
        answer: What it answers.
    """

    reason: str
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A request and an answer.

    Attributes:
        source: A file of TensorFlow Serving, below `tensorflow_serving/`.
        test: The test in it, or the function.
        case: What this one asks, if there are several of one test.
        request: What is sent.
        answer: What TensorFlow Serving answers.
        before: Requests that are answered before, in this order.
        refused_before: One more, after them, that is refused.
        eventually: Ask until the answer is right, as TensorFlow Serving's test waits.
        server: Which of the servers is asked.
        deviation: Set where this server answers otherwise.
    """

    source: str
    test: str
    case: str = ""
    request: Request
    answer: Answer
    before: tuple[Request, ...] = ()
    refused_before: Request | None = None
    eventually: bool = False
    server: Server = "main"
    deviation: Deviation | None = None

    @property
    def id(self) -> str:
        """The name of the pair's test."""
        file = self.source.rpartition("/")[2].removesuffix(".cc").removesuffix(".py")
        case = f"-{self.case.replace(' ', '_')}" if self.case else ""
        protocol = "rest" if isinstance(self.request, Rest) else "grpc"
        return f"{file}-{self.test}{case}-{protocol}"
