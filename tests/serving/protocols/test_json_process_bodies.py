"""Tests of large request bodies that a server reads and writes in JSON children."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from calling.rest_client import Http
from running import servers
from running.json_children import LARGE, children, wait_for_end
from sample_models import tiny_models

from serving.protocols import json_process
from serving.protocols.json_process import LARGE_BYTES
from serving.protocols.kserve import json_tensors
from serving.protocols.tfs import json_predict


def fail(*_args, **_kwargs):
    pytest.fail("done in the event loop")


ROWS = np.arange(3 * 40_000, dtype=np.float32).reshape(-1, 3) / 8
KSERVE_INPUT = {"name": "x", "shape": [40_000, 3], "datatype": "FP32"}


@pytest.fixture
def http(tmp_path, monkeypatch):
    """A server with model `identity` whose own process fails if it parses or writes JSON."""
    tiny_models.identity(tmp_path)
    with servers.in_this_process(tmp_path, max_enqueued_rows=len(ROWS)) as address:
        monkeypatch.setattr(json_predict, "parse", fail)
        monkeypatch.setattr(json_predict.orjson, "dumps", fail)
        monkeypatch.setattr(json_tensors.json, "loads", fail)
        monkeypatch.setattr(json_tensors, "encode", fail)
        yield Http(address)


def ask(http: Http, path: str, document: object) -> tuple[int, bytes]:
    status, _, body = http.ask("POST", path, json.JSONEncoder().encode(document).encode())
    return status, body


def test_large_bodies_of_predict_are_read_and_written_in_a_child(http):
    """Large Predict bodies are parsed and written in a child; the values are unchanged."""
    status, body = ask(http, "/v1/models/identity:predict", {"instances": ROWS.tolist()})

    assert status == 200
    assert json.JSONDecoder().decode(body.decode())["predictions"] == ROWS.tolist()


def test_large_bodies_of_kserve_are_read_and_written_in_a_child(http):
    """Large KServe bodies are parsed and written in a child; the values are unchanged."""
    document = {"inputs": [KSERVE_INPUT | {"data": ROWS.ravel().tolist()}]}
    status, body = ask(http, "/v2/models/identity/infer", document)

    assert status == 200
    (output,) = json.JSONDecoder().decode(body.decode())["outputs"]
    assert output["data"] == ROWS.ravel().tolist()
    assert output["shape"] == [40_000, 3]


WRONG = [*ROWS.tolist(), ["x", 2, 3]]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/models/identity:predict", {"instances": WRONG}),
        ("/v1/models/identity:predict", {"instances": [row[:2] for row in ROWS.tolist()]}),
        ("/v1/models/identity:predict", {"signature_name": "no", "instances": ROWS.tolist()}),
        ("/v1/models/identity:predict", "[" * LARGE),
        ("/v1/models/no:predict", {"instances": ROWS.tolist()}),
        ("/v1/models/identity:classify", {"examples": [{"x": [1, "a"]}] * 40_000}),
        ("/v1/models/identity:regress", {"examples": [{"x": 1.5}] * 40_000}),
        ("/v2/models/identity/infer", {"inputs": [KSERVE_INPUT | {"data": WRONG}]}),
        ("/v2/models/identity/infer", {"inputs": [KSERVE_INPUT | {"data": ROWS.tolist()[1:]}]}),
        ("/v2/models/identity/infer", {"inputs": [{"name": "x", "data": ROWS.tolist()}]}),
        ("/v2/models/identity/infer", [ROWS.tolist()]),
        ("/v2/models/identity/infer", "[" * LARGE),
        ("/v2/models/identity/infer", b"\xff" * LARGE),
    ],
)
def test_mistakes_in_large_bodies_are_named_as_in_small_ones(
    models_dir, monkeypatch, path, document
):
    """Status and message are the same whether a child or the event loop parses the body."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    body = document.encode() if isinstance(document, str) else body
    answers = []
    for limit in (LARGE_BYTES, 1 << 30):
        monkeypatch.setattr(json_process, "LARGE_BYTES", limit)
        with servers.in_this_process(models_dir) as address:
            status, _, answer = Http(address).ask("POST", path, body)
        answers.append((status, answer))

    assert answers[0][0] in {400, 404}
    assert answers[0] == answers[1]


def test_a_large_body_that_waits_too_long_is_given_up(models_dir):
    """--rest_api_timeout_in_ms includes parsing in a child; a child that hangs is killed."""
    settings = {"rest_api_timeout_in_ms": 3000, "max_enqueued_rows": len(ROWS)}
    with servers.in_this_process(models_dir, **settings) as address:
        http = Http(address)
        large = {"instances": ROWS.tolist()}
        before = set(children())  # children of other modules' servers
        http.post("/v1/models/identity:predict", large)
        (pid,) = set(children()) - before
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor() as callers:
            predict = callers.submit(http.post, "/v1/models/identity:predict", large)
            document = {"inputs": [KSERVE_INPUT | {"data": WRONG}]}
            infer = callers.submit(http.post, "/v2/models/identity/infer", document)
            answers = [predict.result(), infer.result()]
        small = http.post("/v1/models/identity:predict", {"instances": [[1, 2, 3]]})
        wait_for_end(pid)

    # One of the two requests had the hanging child; a new child answered the other one.
    statuses = [status for status, _ in answers]
    assert statuses in ([504, 400], [200, 504])
    assert any("Timed out after 3000 ms" in answer.get("error", "") for _, answer in answers)
    assert small[0] == 200
