import asyncio
import json

from calling.rest_client import Http
from sample_models import odd_models, tiny_models

from serving.client import PredictClient
from serving.engine.catalog import State
from serving.errors import StatusCode
from serving.protocols.probe_routes import Probes
from serving.server import ModelServer
from serving.settings.config import ServerConfig


def test_probes_follow_the_servers_life(models_dir):
    """/healthz is always 200; /readyz is 200 only after the models have loaded, until the stop."""
    answers = []

    async def live() -> None:
        server = ModelServer(ServerConfig(models_dir=models_dir, host="127.0.0.1", port=0))
        application = server._applications.http  # the server does not listen yet
        answers.append(await ask_application(application, "/healthz"))
        answers.append(await ask_application(application, "/readyz"))
        await server.start()
        answers.append(await ask_application(application, "/readyz"))
        await server.stop()
        answers.append(await ask_application(application, "/readyz"))
        answers.append(await ask_application(application, "/healthz"))

    asyncio.run(live())

    assert [status for status, _ in answers] == [200, 503, 200, 503, 200]
    assert answers[1][1]["status"] == "NOT_SERVING"
    assert "loading its models" in answers[1][1]["error"]


async def ask_application(application, path: str) -> tuple[int, object]:
    """Send GET for a path to an ASGI application; return status and JSON body."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    await application(scope | {"headers": []}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_readiness_names_the_models_that_failed(tmp_path, running_server):
    """Readiness lists failed models and stays 200: one bad model does not stop the others."""
    tiny_models.identity(tmp_path)
    odd_models.zipmap(tmp_path)
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"none")

    with running_server(tmp_path) as address, PredictClient(address) as client:
        answers = [Http(address).get(path) for path in ("/readyz", "/v2/health/ready")]
        (status,) = client.statuses("zipmap")

    assert answers == [
        (200, {"status": "SERVING", "failed_models": ["broken", "zipmap"]}),
        (200, {"ready": True, "failed_models": ["broken", "zipmap"]}),
    ]
    assert (status.state, status.status.error_code) == (State.END, StatusCode.UNIMPLEMENTED)
    assert 'options={"zipmap": False}' in status.status.error_message


def test_probes_make_no_traces():
    """They come every few seconds and say nothing of the callers."""
    probes = Probes(health=None, catalog=None, page=None, metrics_path="/metrics")

    assert [(route.method, route.traced) for route in probes.routes()] == [("GET", False)] * 3
