import asyncio
from typing import Any

import pytest

from serving.transport.web.farewell import Farewell


async def _answer(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("is_leaving", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
def test_only_http1_answers_of_a_leaving_server_end_their_connection(version, is_leaving):
    """Answers get `connection: close` in HTTP/1 while the server leaves, and never in HTTP/2."""
    sent: list[Any] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    farewell = Farewell(_answer)
    farewell.is_leaving = is_leaving
    asyncio.run(farewell({"http_version": version}, None, send))

    assert ((b"connection", b"close") in sent[0]["headers"]) == (is_leaving and version != "2")
    assert sent[1] == {"type": "http.response.body", "body": b"ok"}
