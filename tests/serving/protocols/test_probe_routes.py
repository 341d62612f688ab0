import asyncio
import json

from serving.server import ModelServer
from serving.settings.config import ServerConfig


def test_probes_follow_the_servers_life(models_dir):
    """Alive from the start; ready only once the models are loaded, and no more when stopping."""
    answers = []

    async def live() -> None:
        server = ModelServer(ServerConfig(models_dir=models_dir, host="127.0.0.1", port=0))
        application = server._web_server._application  # before it listens
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
    """GET a path from an ASGI application."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    await application(scope | {"headers": []}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])
