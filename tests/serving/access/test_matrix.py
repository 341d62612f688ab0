"""Every method and every route, called by every kind of caller, over both fronts.

The roles that methods and routes require are written here a second time, so that a change of a row
fails, and a new row without an entry here fails too.
"""

import http.client
import itertools
from collections.abc import Iterator

import grpc
import keys_files
import pytest
from keys_files import bearer, entry, key_of
from running import servers

from serving.access.roles import GRANTED, OPENABLE
from serving.server import ModelServer
from serving.transport.method_table import StreamMethod

TFS, KSERVE = "/tensorflow.serving", "/inference.GRPCInferenceService"
METHODS = {
    f"{TFS}.PredictionService/Predict": "predict",
    f"{TFS}.PredictionService/Classify": "predict",
    f"{TFS}.PredictionService/Regress": "predict",
    f"{TFS}.PredictionService/MultiInference": "predict",
    f"{TFS}.PredictionService/GetModelMetadata": "metadata",
    f"{TFS}.ModelService/GetModelStatus": "metadata",
    f"{TFS}.ModelService/HandleReloadConfigRequest": "admin",
    f"{KSERVE}/ServerLive": "health",
    f"{KSERVE}/ServerReady": "health",
    f"{KSERVE}/ModelReady": "health",
    f"{KSERVE}/ServerMetadata": "metadata",
    f"{KSERVE}/ModelMetadata": "metadata",
    f"{KSERVE}/ModelInfer": "predict",
    f"{KSERVE}/ModelConfig": "metadata",
    f"{KSERVE}/ModelStatistics": "metadata",
    f"{KSERVE}/RepositoryIndex": "metadata",
    f"{KSERVE}/RepositoryModelLoad": "admin",
    f"{KSERVE}/RepositoryModelUnload": "admin",
    f"{KSERVE}/TraceSetting": "metadata",
    f"{KSERVE}/LogSettings": "metadata",
    "/grpc.health.v1.Health/Check": "health",
    "/grpc.health.v1.Health/Watch": "health",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "metadata",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "metadata",
}
# An example request of each route.
ROUTES = {
    ("POST", "/v1/models/identity:predict"): "predict",
    ("POST", "/v1/models/identity:classify"): "predict",
    ("POST", "/v1/models/identity:regress"): "predict",
    ("GET", "/v1/models/identity"): "metadata",
    ("GET", "/v1/models/identity/versions/1/metadata"): "metadata",
    ("GET", "/v1/models"): "metadata",
    ("GET", "/v1/models/metadata"): "metadata",
    ("GET", "/v1/models/versions/1/metadata"): "metadata",
    ("GET", "/v2"): "metadata",
    ("GET", "/v2/models/identity"): "metadata",
    ("GET", "/v2/models/identity/ready"): "health",
    ("GET", "/v2/health/live"): "health",
    ("GET", "/v2/health/ready"): "health",
    ("POST", "/v2/models/identity/infer"): "predict",
    ("GET", "/v2/models/identity/config"): "metadata",
    ("GET", "/v2/models/identity/stats"): "metadata",
    ("GET", "/v2/models/stats"): "metadata",
    ("POST", "/v2/repository/index"): "metadata",
    ("POST", "/v2/repository/models/identity/load"): "admin",
    ("POST", "/v2/repository/models/identity/unload"): "admin",
    ("GET", "/v2/trace/setting"): "metadata",
    ("POST", "/v2/models/identity/trace/setting"): "metadata",
    ("GET", "/v2/logging"): "metadata",
    ("POST", "/v2/logging"): "metadata",
    ("GET", "/healthz"): "health",
    ("GET", "/readyz"): "health",
    ("GET", "/monitoring/prometheus/metrics"): "metrics",
    ("GET", "/"): "health",
    ("GET", "/docs"): "health",
    ("GET", "/openapi.json"): "metadata",
    ("GET", "/console/models"): "admin",
    ("GET", "/console/figures"): "admin",
    ("GET", "/console/models/identity/versions/1"): "admin",
}
CALLERS = ("none", "wrong", "expired", *map(str, GRANTED))
REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED: "who are you",
    grpc.StatusCode.PERMISSION_DENIED: "not you",
    401: "who are you",
    403: "not you",
}


def expected(role: str, caller: str, opened: tuple[str, ...] = ("health",)) -> str:
    """Return how a call ends that needs a role: refused in one of two ways, or let in."""
    if caller in {"wrong", "expired"}:
        return "who are you"
    if caller == "none":
        return "let in" if role in opened else "who are you"
    return "let in" if role in {caller, "health", *opened} else "not you"


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory):
    """A keys file with a key for each role, and an expired key with all roles."""
    return keys_files.write(
        tmp_path_factory.mktemp("keys") / "keys.json",
        *(entry(role, role) for role in GRANTED),
        entry("expired", *GRANTED, expires="2020-01-01"),
    )


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def server(request, models_dir, keys_file) -> Iterator[ModelServer]:
    """A server with keys, on each front."""
    with servers.model_server(models_dir, front=request.param, api_keys_file=keys_file) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


def call(channel: grpc.Channel, path: str, *, streams: bool, metadata: object) -> str:
    """Call a method with an empty message; return how the call ended."""
    try:
        if streams:
            answers = channel.stream_stream(path)(iter([b""]), timeout=30, metadata=metadata)
            next(answers, None)
            answers.cancel()
        else:
            channel.unary_unary(path)(b"", timeout=30, metadata=metadata)
    except grpc.RpcError as error:
        return REFUSED.get(error.code(), "let in")
    return "let in"


def ask(connection: http.client.HTTPConnection, method: str, path: str, headers: object) -> str:
    """Send a request; return how it ended."""
    connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return REFUSED.get(answer.status, "let in")


def test_every_method_lets_in_the_callers_with_its_role_and_nobody_else(server, channel):
    """Each method answers callers with its role; it refuses all others, with or without a key."""
    methods = server._services.methods
    found, right = {}, {}
    for path, caller in itertools.product(methods, CALLERS):
        metadata = None if caller == "none" else bearer(caller)
        streams = isinstance(methods[path], StreamMethod)
        found[path, caller] = call(channel, path, streams=streams, metadata=metadata)
        right[path, caller] = expected(METHODS[path], caller)

    assert found == right
    assert methods.keys() == METHODS.keys()


def route_of(server: ModelServer, method: str, path: str) -> object:
    """Return the pattern of the first route that matches a request."""
    return next(
        route.pattern
        for route in server._services.routes
        if route.method == method and route.pattern.fullmatch(path)
    )


@pytest.fixture(scope="module")
def rest(models_dir, keys_file) -> Iterator[ModelServer]:
    """A server with keys, on the default front."""
    with servers.model_server(models_dir, api_keys_file=keys_file) as running:
        yield running


def test_every_route_lets_in_the_callers_with_its_role_and_nobody_else(rest):
    """Each route answers callers with its role; it refuses all others, with or without a key."""
    connection = http.client.HTTPConnection(f"127.0.0.1:{rest.port}", timeout=30)
    found, right = {}, {}
    for (method, path), caller in itertools.product(ROUTES, CALLERS):
        headers = {} if caller == "none" else {"x-api-key": key_of(caller)}
        found[method, path, caller] = ask(connection, method, path, headers)
        right[method, path, caller] = expected(ROUTES[method, path], caller)
    connection.close()
    examples = {route_of(rest, *request) for request in ROUTES}

    assert found == right
    assert {route.pattern for route in rest._services.routes} == examples


@pytest.mark.parametrize("opened", [(), ("metrics",), tuple(map(str, OPENABLE))])
def test_open_access_names_what_needs_no_key(models_dir, keys_file, opened):
    """A caller without a key may do what --open_access names, and nothing else."""
    settings = {"api_keys_file": keys_file, "open_access": ",".join(opened)}
    with servers.model_server(models_dir, **settings) as running:
        address = f"127.0.0.1:{running.port}"
        connection = http.client.HTTPConnection(address, timeout=30)
        found = {request: ask(connection, *request, {}) for request in ROUTES}
        known = {
            request: ask(connection, *request, {"x-api-key": key_of("admin")}) for request in ROUTES
        }
        connection.close()
        with grpc.insecure_channel(address) as channel:
            reload = f"{TFS}.ModelService/HandleReloadConfigRequest"
            reloaded = call(channel, reload, streams=False, metadata=None)

    assert found == {request: expected(role, "none", opened) for request, role in ROUTES.items()}
    assert known == {request: expected(role, "admin", opened) for request, role in ROUTES.items()}
    assert reloaded == "who are you"
