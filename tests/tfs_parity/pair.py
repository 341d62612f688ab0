"""A request, TensorFlow Serving's answer, and the place in its sources that gives the answer."""

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
        path: The path on the request line, still percent-encoded.
        body: The body as it is sent.
        method: GET, POST, ...
        headers: Headers beside those of every request.
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
        method: A method of PredictionService or ModelService.
        message: The request in protobuf's text format; `{models}` stands for the folder of models.
    """

    method: str
    message: str

    def __str__(self) -> str:
        return f"{self.method} {self.message}".strip()


@dataclass(frozen=True)
class Ok:
    """A successful answer.

    Attributes:
        content: The whole answer: a JSON document, or a message in protobuf's text format. In JSON,
            1 and 1.0 are different, NaN equals NaN, and the order of an object's names does not
            count.
        single: Compare JSON's numbers as float32: TensorFlow Serving writes up to nine digits,
            which need not be the shortest ones of the number.
    """

    content: Any
    single: bool = False


@dataclass(frozen=True)
class Refused:
    """An error.

    Attributes:
        code: The gRPC code; a REST answer has its status in `HTTP_STATUS`.
        begins: The beginning of the message. This server may add a hint to TensorFlow Serving's
            message.
        has: A part of the message, if TensorFlow Serving's own test compares only a part.
    """

    code: str
    begins: str = ""
    has: str = ""


@dataclass(frozen=True)
class Status:
    """An HTTP status; the body is not compared."""

    status: int


Request = Rest | Grpc
Answer = Ok | Refused | Status
# `main` serves every model. `reloadable` serves half_plus_two until a reload changes its models.
# `lenient_labels` does the same with --allow_version_labels_for_unavailable_models.
Server = Literal["main", "reloadable", "lenient_labels"]


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """An answer of this server that differs on purpose.

    Attributes:
        reason: The reason, for the table in docs/parity.md.
        answer: This server's answer.
    """

    reason: str
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A request and its expected answer.

    Attributes:
        source: A file of TensorFlow Serving, below `tensorflow_serving/`.
        test: The test or the function in that file.
        case: A name for this pair, if a test has several pairs.
        request: The request that is sent.
        answer: TensorFlow Serving's answer.
        before: Requests sent before, in this order; they must succeed.
        refused_before: A request sent after them that must be refused.
        eventually: Ask until the answer is right, because TensorFlow Serving's test waits, too.
        server: The server that is asked.
        deviation: This server's answer, if it differs.
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
        """The name of the pair's test case."""
        file = self.source.rpartition("/")[2].removesuffix(".cc").removesuffix(".py")
        case = f"-{self.case.replace(' ', '_')}" if self.case else ""
        protocol = "rest" if isinstance(self.request, Rest) else "grpc"
        return f"{file}-{self.test}{case}-{protocol}"
