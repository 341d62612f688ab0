import json
import logging
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certificates
import grpc
import keys_files
import pytest
from calling.access_calls import RELOAD_PATH, Code, named, predict, send
from calling.rest_client import Http
from google.protobuf import text_format
from keys_files import bearer, entry, key_of
from running import servers
from sample_models import tiny_models

from serving.client import (
    GET_MODEL_METADATA_PATH,
    GET_MODEL_STATUS_PATH,
    HEALTH_CHECK_PATH,
    PREDICT_PATH,
)
from serving.clients.messages import metadata_request, status_request
from serving.protos.kserve_pb2 import ModelInferRequest, ModelMetadataRequest, ModelReadyRequest
from serving.protos.tensorflow_serving_pb2 import ClassificationRequest, MultiInferenceRequest
from serving.protos.tfs_config_pb2 import SSLConfig

PREDICTION = "/tensorflow.serving.PredictionService"
KSERVE = "/inference.GRPCInferenceService"


@pytest.fixture
def address(models_dir, front, keys_file, running_server):
    """Address of a server with these keys."""
    with running_server(models_dir, front=front, api_keys_file=keys_file) as target:
        yield target


@pytest.fixture
def channel(address):
    with grpc.insecure_channel(address) as opened:
        yield opened


MODEL_CALLS = {
    "Predict": (PREDICT_PATH, predict),
    "Classify": (
        f"{PREDICTION}/Classify",
        lambda model: ClassificationRequest(model_spec={"name": model}),
    ),
    "Regress": (
        f"{PREDICTION}/Regress",
        lambda model: ClassificationRequest(model_spec={"name": model}),
    ),
    "MultiInference": (
        f"{PREDICTION}/MultiInference",
        lambda model: MultiInferenceRequest(tasks=[{"model_spec": {"name": model}}]),
    ),
    "GetModelMetadata": (GET_MODEL_METADATA_PATH, lambda model: metadata_request(model, None)),
    "GetModelStatus": (GET_MODEL_STATUS_PATH, status_request),
    "ModelInfer": (f"{KSERVE}/ModelInfer", lambda model: ModelInferRequest(model_name=model)),
    "ModelMetadata": (f"{KSERVE}/ModelMetadata", lambda model: ModelMetadataRequest(name=model)),
    "ModelReady": (f"{KSERVE}/ModelReady", lambda model: ModelReadyRequest(name=model)),
}


@pytest.mark.parametrize("model", ["add", "nowhere"])
def test_a_model_of_others_is_refused_by_every_method(channel, model):
    """A caller with a list of models is refused all other models, served or not, by all methods."""
    refused = {
        name: send(channel, path, message(model), "a")[0]
        for name, (path, message) in MODEL_CALLS.items()
    }
    own = {
        name: send(channel, path, message("identity"), "a")[0]
        for name, (path, message) in MODEL_CALLS.items()
    }

    assert refused == dict.fromkeys(MODEL_CALLS, Code.PERMISSION_DENIED)
    assert Code.PERMISSION_DENIED not in own.values()


def test_a_model_of_others_is_refused_by_every_route(models_dir, keys_file, running_server):
    """Over HTTP too, a caller with a list of models is refused all other models."""
    requests = [
        *(("POST", f"/v1/models/add:{verb}") for verb in ("predict", "classify", "regress")),
        *(("GET", f"/v1/models/add{rest}") for rest in ("", "/versions/1", "/metadata")),
        *(("GET", f"/v2/models/add{rest}") for rest in ("", "/ready", "/versions/1")),
    ]
    infer = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    with running_server(models_dir, api_keys_file=keys_file, enable_console=False) as target:
        rest, key = Http(target), {"x_api_key": key_of("a")}
        found = [rest.ask(*request, body=b"{}", **key)[0] for request in requests]
        found.append(rest.post("/v2/models/add/infer", infer, **key)[0])
        own, _ = rest.post("/v1/models/identity:predict", {"instances": [[1, 2, 3]]}, **key)
        listed = json.loads(rest.ask("GET", "/v1/models", **key)[2])
        page = rest.ask("GET", "/", **key)[2].decode()

    assert found == [403] * (len(requests) + 1)
    assert own == 200
    assert [model["name"] for model in listed["models"]] == ["identity"]
    assert re.findall(r"/v1/models/(\w+)/metadata\">", page) == ["identity"]


@pytest.mark.parametrize(
    ("caller", "models"), [("all", "models here: identity, add"), ("slow", None), ("a", None)]
)
def test_names_of_models_are_told_to_those_who_may_read_metadata(channel, caller, models):
    """NOT_FOUND lists the models to callers with the role metadata, and hides them from others."""
    code, message, _ = send(channel, PREDICT_PATH, predict("nowhere"), caller)

    if caller == "a":
        assert code is Code.PERMISSION_DENIED
    else:
        assert code is Code.NOT_FOUND
        assert message.startswith("Servable not found for request: Latest(nowhere)")
        assert ("models here" in message) == bool(models)


def test_names_of_models_are_hidden_from_anonymous_health_checks(models_dir, tmp_path, keys_file):
    """Without a key, readiness and health checks name no model, on the health port either."""
    tiny_models.identity(tmp_path / "models")
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "models" / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    settings = {"api_keys_file": keys_file, "health_port": 0}
    with servers.model_server(tmp_path / "models", **settings) as server:
        ports = (server.port, server.health_port)
        told = [Http(f"127.0.0.1:{port}").ask("GET", "/readyz")[2] for port in ports]
        known = Http(f"127.0.0.1:{server.port}").ask("GET", "/readyz", x_api_key=key_of("all"))[2]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            unknown = channel.unary_unary(HEALTH_CHECK_PATH).future(b"\x0a\x01x", timeout=30)
            message = unknown.details()

    assert [json.loads(each) for each in told] == [{"status": "SERVING"}] * 2
    assert json.loads(known) == {"status": "SERVING", "failed_models": ["broken"]}
    assert message == "unknown service 'x'"


def test_callers_on_one_connection_are_told_apart(channel):
    """Calls of two callers that share a connection each have the rights of their own key."""
    kinds = [("a", "identity"), ("b", "add"), ("a", "add"), ("b", "identity")] * 100

    def ask(caller, model):
        return channel.unary_unary(PREDICT_PATH).future(
            predict(model).SerializeToString(), timeout=30, metadata=bearer(caller)
        )

    calls = [ask(*kind) for kind in kinds]
    refused = [call.code() is Code.PERMISSION_DENIED for call in calls]

    assert refused == [False, False, True, True] * 100


def test_a_call_is_refused_before_its_message_is_read(models_dir, keys_file, running_server):
    """A caller without a key is refused before it has sent the message or the body."""
    waiting = threading.Event()

    def messages():
        waiting.wait(30)
        yield predict().SerializeToString()

    with running_server(models_dir, api_keys_file=keys_file) as target:
        with grpc.insecure_channel(target) as channel:
            answer = channel.stream_unary(PREDICT_PATH).future(messages(), timeout=20)
            code = answer.code()
        host, _, port = target.partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/models/identity:predict HTTP/1.1\r\nhost: x\r\n"
                b"content-length: 1000000\r\n\r\n"
            )
            line = connection.recv(4096).split(b"\r\n")[0]
        waiting.set()

    assert code is Code.UNAUTHENTICATED
    assert line == b"HTTP/1.1 401 Unauthorized"


def test_a_caller_over_its_rate_is_told_when_to_retry(channel):
    """A caller over its rate gets RESOURCE_EXHAUSTED, with retry-after in the trailing metadata."""
    first, _, _ = send(channel, PREDICT_PATH, predict(), "slow")
    code, message, trailers = send(channel, PREDICT_PATH, predict(), "slow")
    other, _, _ = send(channel, PREDICT_PATH, predict(), "all")

    assert (first, code, other) == (Code.OK, Code.RESOURCE_EXHAUSTED, Code.OK)
    assert message.startswith("slow sends more than 0.01 requests a second")
    assert 90 <= int(trailers["retry-after"]) <= 100


def test_calls_in_flight_are_limited(channel):
    """A caller may have as many calls in flight as its limit, and others are not affected."""
    watch = "/grpc.health.v1.Health/Watch"
    with ThreadPoolExecutor() as pool:
        watching = channel.unary_stream(watch)(b"", timeout=60, metadata=bearer("single"))
        next(watching)  # now the call is in flight
        code, message, trailers = send(channel, PREDICT_PATH, predict(), "single")
        other, _, _ = send(channel, PREDICT_PATH, predict(), "all")
        watching.cancel()
        ended = pool.submit(
            keys_files.wait_until,
            lambda: send(channel, PREDICT_PATH, predict(), "single")[0] is Code.OK,
        )
        ended.result(60)

    assert (code, other) == (Code.RESOURCE_EXHAUSTED, Code.OK)
    assert message.startswith("single has 1 calls in flight, expected at most 1")
    assert trailers["retry-after"] == "1"


def test_refusals_over_http_have_their_headers(models_dir, keys_file, running_server):
    """401 has www-authenticate, 429 has retry-after, and all have TensorFlow Serving's JSON."""
    body = {"instances": [[1, 2, 3]]}
    path = "/v1/models/identity:predict"
    with running_server(models_dir, api_keys_file=keys_file) as target:
        rest = Http(target)
        answers = [
            rest.ask("POST", path, json.dumps(body).encode(), **headers)
            for headers in (
                {},
                {"authorization": f"Bearer {key_of('b')}"},
                {"authorization": f"Bearer {key_of('slow')}"},
                {"authorization": f"Bearer {key_of('slow')}"},
            )
        ]
        page = rest.ask("GET", "/monitoring/prometheus/metrics", x_api_key=key_of("all"))[2]

    statuses = [status for status, _, _ in answers]
    assert statuses == [401, 403, 200, 429]
    assert answers[0][1]["www-authenticate"] == 'Bearer realm="onnx-serving"'
    assert 90 <= int(answers[3][1]["retry-after"]) <= 100
    assert all(json.loads(answers[number][2]).keys() == {"error"} for number in (0, 1, 3))
    counted = re.findall(r'access_refusals_total\{reason="(\w+)"\} ([\d.]+)', page.decode())
    assert {name: float(number) for name, number in counted if float(number)} == {
        "no_key": 1,
        "model": 1,
        "limit": 1,
    }


def test_web_pages_may_send_a_key(models_dir, keys_file, running_server):
    """With CORS and keys, the preflight allows the headers in which a page sends its key."""
    settings = {"api_keys_file": keys_file, "rest_api_enable_cors_support": True}
    with running_server(models_dir, **settings) as target:
        status, headers, _ = Http(target).ask(
            "OPTIONS", "/v1/models/identity:predict", origin="http://x"
        )

    assert status == 200
    assert headers["access-control-allow-headers"] == "Content-Type, Authorization, X-Api-Key"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The certificate authority that servers and clients trust."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture
def tls_file(authority, tmp_path) -> Path:
    """TLS with client certificates."""
    server = authority.issue("server")
    path = tmp_path / "ssl.config"
    path.write_text(
        text_format.MessageToString(
            SSLConfig(
                server_key=server.key,
                server_cert=server.certificate,
                client_verify=True,
                custom_ca=authority.certificate,
            )
        )
    )
    return path


def secure(target, authority, pair):
    credentials = grpc.ssl_channel_credentials(
        authority.certificate.encode(), pair.key.encode(), pair.certificate.encode()
    )
    return grpc.secure_channel(target.replace("127.0.0.1", "localhost"), credentials)


def test_client_certificates_have_roles(  # noqa: PLR0917 - fixtures
    models_dir, front, authority, tls_file, tmp_path, running_server
):
    """A client certificate has the roles of the entry with its subject, on both fronts."""
    keys = keys_files.write(
        tmp_path / "keys.json",
        entry("web", "predict", subject="CN=trainer"),
        entry("all", "predict", "admin"),
    )
    settings = {"front": front, "api_keys_file": keys, "ssl_config_file": tls_file}
    found = {}
    with running_server(models_dir, **settings) as target:
        for name in ("trainer", "stranger"):
            with secure(target, authority, authority.issue(name)) as channel:
                found[name] = send(channel, PREDICT_PATH, predict())[:2]
                found[name, "reload"] = send(channel, RELOAD_PATH, named(models_dir))[0]
                found[name, "key"] = send(channel, PREDICT_PATH, predict(), "all")[0]
        with secure(target, authority, authority.issue_expired("trainer")) as channel:
            expired, _, _ = send(channel, PREDICT_PATH, predict())

    assert found["trainer"][0] is Code.OK
    assert found["stranger"][0] is Code.PERMISSION_DENIED
    assert found["stranger"][1].startswith("CN=stranger lacks the role predict")
    assert found["trainer", "reload"] is Code.PERMISSION_DENIED
    assert found["trainer", "key"] is found["stranger", "key"] is Code.OK
    assert expired is Code.UNAVAILABLE  # the handshake fails


def test_a_certificate_names_its_owner_in_the_audit_log(  # noqa: PLR0917 - fixtures
    models_dir, front, authority, tls_file, caplog, running_server
):
    """Without keys, a change by a client with a certificate has the certificate's subject."""
    caplog.set_level(logging.INFO, "serving.audit")
    with (
        running_server(models_dir, front=front, ssl_config_file=tls_file) as target,
        secure(target, authority, authority.issue("trainer")) as channel,
    ):
        code, _, _ = send(channel, RELOAD_PATH, named(models_dir, identity="identity"))

    assert code is Code.OK
    assert any("models changed by CN=trainer from " in line for line in caplog.messages)


def test_answers_without_keys_are_unchanged(models_dir, running_server):
    """Without keys, a key that a client sends has no effect."""
    with running_server(models_dir) as target, grpc.insecure_channel(target) as channel:
        code, _, _ = send(channel, PREDICT_PATH, predict(), "nobody")

    assert code is Code.OK
