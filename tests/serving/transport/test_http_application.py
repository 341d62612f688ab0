import gzip
import json
import socket
import zlib

import numpy as np
import pytest
from calling.rest_client import Http
from running import servers

from serving.client import PredictClient


@pytest.fixture
def rest(target) -> Http:
    """The REST API of a server with every tiny model."""
    return Http(target)


ONE = {"instances": [[1, 2, 3]]}


ANY_PATH = "/v1/models/identity:predict"


def test_head_answers_without_a_body(rest):
    """HEAD is answered with GET's headers and without a body."""
    status, headers, body = rest.ask("HEAD", "/v1/models/identity")

    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def raw_deflate(content: bytes) -> bytes:
    """Compress without zlib's header and checksum, as some clients send `deflate`."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize(
    ("compress", "encoding"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "x-gzip"),
        (zlib.compress, "deflate"),
        (raw_deflate, "deflate"),
    ],
)
def test_bodies_may_be_compressed(rest, compress, encoding):
    """A body is decompressed as its Content-Encoding says."""
    body = compress(json.dumps(ONE).encode())

    assert rest.post(ANY_PATH, body, content_encoding=encoding)[0] == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status", "message"),
    [
        (b"no gzip", "gzip", 400, "gzip body cannot be decompressed"),
        (gzip.compress(b"{}")[:-3], "gzip", 400, "gzip body is truncated"),
        (b"{}", "br", 400, "content-encoding 'br' is not supported; expected gzip"),
        (gzip.compress(b" " * 5000), "gzip", 429, "gzip body inflates to over 1000 bytes"),
        (b"no deflate", "deflate", 400, "deflate body cannot be decompressed"),
        (zlib.compress(b"{}")[:-3], "deflate", 400, "deflate body is truncated"),
        (zlib.compress(b" " * 5000), "deflate", 429, "deflate body inflates to over 1000 bytes"),
        (raw_deflate(b" " * 5000), "deflate", 429, "deflate body inflates to over 1000 bytes"),
        (b" " * 5000, "identity", 429, "request body has over 1000 bytes; send smaller batches"),
    ],
)
def test_large_and_broken_bodies_are_refused(models_dir, body, encoding, status, message):
    """Malformed and large bodies are refused, small bodies that inflate to large ones as well."""
    with servers.in_this_process(models_dir, max_message_bytes=1000) as address:
        answered, answer = Http(address).post(ANY_PATH, body, content_encoding=encoding)

    assert answered == status
    assert answer["error"].startswith(message)


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 429)])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_limit_of_a_body_is_exact(models_dir, encoding, over, status):
    """A body of exactly --max_message_bytes is read, plain or inflated; a longer one is refused."""
    limit = 3_000_000
    body = json.dumps(ONE).encode().ljust(limit + over)
    body = gzip.compress(body) if encoding == "gzip" else body
    with servers.in_this_process(models_dir, max_message_bytes=limit) as address:
        answered, _ = Http(address).post(ANY_PATH, body, content_encoding=encoding)

    assert answered == status


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_both_ports_answer_rest_and_grpc(models_dir):
    """--port and --rest_api_port each answer REST and gRPC."""
    port = free_port()
    with servers.in_this_process(models_dir, rest_api_port=port) as address:
        by_rest_port = Http(f"127.0.0.1:{port}").post(ANY_PATH, ONE)
        by_port = Http(address).post(ANY_PATH, ONE)
        with PredictClient(f"127.0.0.1:{port}") as client:
            answer = client.predict("identity", {"x": np.ones((1, 3), np.float32)})

    assert by_rest_port == by_port == (200, {"predictions": [[1.0, 2.0, 3.0]]})
    assert answer["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_request_id": "abc-1"}, "abc-1"),
        ({"request_id": "abc-2"}, "abc-2"),
        ({"x_request_id": "a b\tc" + "d" * 200}, "a?b?c" + "d" * 123),
    ],
)
def test_failed_requests_carry_their_id(rest, headers, expected):
    """The caller's id comes back with the error, made safe for a log line."""
    _, answered, _ = rest.ask(
        "POST", "/v1/models/nope:predict", json.dumps(ONE).encode(), **headers
    )

    assert answered["x-request-id"] == expected


def test_failed_requests_without_an_id_get_one(rest):
    """A failed request without an id gets a new one; successful answers have none."""
    body = json.dumps(ONE).encode()
    ids = {rest.ask("POST", "/v1/models/nope:predict", body)[1]["x-request-id"] for _ in range(2)}
    _, answered, _ = rest.ask("POST", ANY_PATH, body, x_request_id="mine")

    assert len(ids) == 2
    assert "x-request-id" not in answered


def test_faults_are_logged_with_the_request_id(rest, caplog):
    """A failing model is logged as an error with its request id; a wrong request is not logged."""
    rest.post("/v1/models/fragile:predict", {"inputs": [7]}, x_request_id="the-failed-one")
    rest.post("/v1/models/nope:predict", ONE, x_request_id="the-wrong-one")

    (record,) = [r for r in caplog.records if "the-failed-one" in r.getMessage()]
    assert (record.levelname, record.request_id) == ("ERROR", "the-failed-one")
    assert "the-wrong-one" not in caplog.text


def test_times_are_told_on_request(rest):
    """Server-Timing is answered if the request has the header x-server-timing: 1."""
    body = json.dumps(ONE).encode()
    _, asked, _ = rest.ask("POST", ANY_PATH, body, x_server_timing="1")
    _, not_asked, _ = rest.ask("POST", ANY_PATH, body)

    stages = [stage.split(";dur=")[0] for stage in asked["server-timing"].split(", ")]
    assert stages == ["queue", "compute", "total"]
    assert "server-timing" not in not_asked


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/index", 404, "Not found: GET /index; the APIs are under /v1/ and /v2"),
        ("GET", "/statuspage?x=1", 404, "Not found: GET /statuspage?x=1; the APIs"),
        ("POST", "/v1", 404, "Not found: POST /v1;"),
        ("POST", "/v2x/nothing", 404, "Not found: POST /v2x/nothing;"),
        ("POST", "/v2/nothing", 400, "Malformed request: POST /v2/nothing"),
        ("DELETE", "/healthy", 404, "Not found: DELETE /healthy;"),
        ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/V1/foo%20bar?a=b", 400, "Malformed request: POST /V1/foo%20bar?a=b"),
        ("GET", "/v1/models/a/metadata/b", 400, "Malformed request: GET /v1/models/a/metadata/b"),
        ("POST", "/v1/models/a/metadata", 400, "Malformed request: POST /v1/models/a/metadata"),
        ("POST", "/v1/models/a/versions/x:regress", 400, "Malformed request: POST /v1/models/a/"),
        ("POST", "/v1/models/a/versions/1/labels/b:predict", 400, "Malformed request: POST /v1/"),
        ("PUT", ANY_PATH, 400, f"Malformed request: PUT {ANY_PATH}"),
        ("DELETE", "/v1/models/identity", 400, "Malformed request: DELETE /v1/models/identity"),
        ("GET", "/v1/models/versions/1", 400, "Missing model name in request."),
        ("GET", "/v1/models/labels/a/metadata", 400, "Missing model name in request."),
        ("POST", "/monitoring/prometheus/metrics", 400, "Malformed request: POST /monitoring/"),
    ],
)
def test_paths_without_a_route(rest, method, path, status, error):
    """A path outside the APIs is 404; an unknown path or method inside them is 400."""
    answered, headers, body = rest.ask(method, path)

    assert (answered, headers["content-type"]) == (status, "application/json")
    assert json.loads(body)["error"].startswith(error)
    assert body.startswith(b'{\n    "error": "')


ORIGIN = "https://example.org"
CORS_HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


def cors_headers(headers):
    """Return the headers that a browser's CORS check reads."""
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


@pytest.fixture(scope="module")
def open_rest(models_dir):
    """The REST API of a server with --rest_api_enable_cors_support."""
    with servers.in_this_process(models_dir, rest_api_enable_cors_support=True) as address:
        yield Http(address)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", ANY_PATH, 200),
        ("POST", ANY_PATH, 200),
        ("POST", "/v1/models/nope:predict", 404),
        ("POST", "/v1/models/identity:explain", 400),
        ("GET", "/v1/models/identity", 200),
        ("OPTIONS", "/v2/models/identity/infer", 200),
        ("GET", "/v2", 200),
    ],
)
def test_web_pages_may_call_the_apis_if_they_are_let(open_rest, method, path, status):
    """Answers, errors and preflights have TensorFlow Serving's three CORS headers."""
    answered, headers, body = open_rest.ask(method, path, json.dumps(ONE).encode(), origin=ORIGIN)

    assert answered == status
    assert cors_headers(headers) == CORS_HEADERS
    assert (body == b"") == (method == "OPTIONS")


@pytest.mark.parametrize("path", ["/healthz", "/monitoring/prometheus/metrics", "/elsewhere"])
def test_only_the_apis_have_cors_headers(open_rest, path):
    """Probes, the metrics page and unknown paths have no CORS headers."""
    assert cors_headers(open_rest.ask("GET", path, origin=ORIGIN)[1]) == {}


def test_without_the_flag_no_answer_has_the_headers(rest):
    """Without the flag, no answer has CORS headers, and preflights are still answered 200."""
    for method in ("OPTIONS", "POST"):
        status, headers, _ = rest.ask(method, ANY_PATH, json.dumps(ONE).encode(), origin=ORIGIN)

        assert (status, cors_headers(headers)) == (200, {})


@pytest.mark.parametrize("headers", [{}, {"origin": "null"}])
def test_a_preflight_has_an_origin(open_rest, headers):
    """A preflight without an origin is 400 with TensorFlow Serving's message."""
    status, _, body = open_rest.ask("OPTIONS", ANY_PATH, **headers)

    assert status == 400
    assert json.loads(body) == {"error": "Origin header is missing in CORS preflight"}


def test_options_elsewhere_is_not_found(open_rest):
    """A preflight outside of the APIs is 404."""
    assert open_rest.ask("OPTIONS", "/elsewhere", origin=ORIGIN)[0] == 404
