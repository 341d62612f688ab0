"""The routes of the console on running servers: headers, roles, models of a caller, refusals."""

import gzip
import json
from collections.abc import Iterator

import keys_files
import numpy as np
import pytest
from calling.rest_client import Http
from keys_files import entry, key_of
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient
from serving.console import bundle

DOCUMENTS = (
    "/openapi.json",
    "/console/models",
    "/console/figures",
    "/console/models/identity/versions/1",
)


@pytest.fixture(scope="module")
def rest(target) -> Http:
    return Http(target)


@pytest.fixture(scope="module")
def keyed(models_dir, tmp_path_factory) -> Iterator[Http]:
    """A server with keys: `root` may do all, `part` is an admin of one model, `user` predicts."""
    path = keys_files.write(
        tmp_path_factory.mktemp("keys") / "keys.json",
        entry("root", "admin", "predict", "metadata"),
        entry("part", "admin", models=["identity", "gone"]),
        entry("user", "predict", "metadata"),
    )
    with servers.in_this_process(models_dir, api_keys_file=path) as address:
        yield Http(address)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_page_has_its_policy_and_cannot_be_framed(rest, path):
    """The headers forbid other scripts, frames, guessed types and referrers."""
    status, headers, body = rest.ask("GET", path)

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"] == bundle.page().policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert body == bundle.page().html


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip, br", True), ("br;q=1, gzip;q=0.5", True), ("gzip;q=0", False), ("br", False)],
)
def test_the_page_is_compressed_where_the_browser_takes_it(rest, accepted, zipped):
    """A cache keeps both forms apart."""
    _, headers, body = rest.ask("GET", "/", accept_encoding=accepted)

    assert headers["vary"] == "accept-encoding"
    assert (headers.get("content-encoding") == "gzip") is zipped
    assert (gzip.decompress(body) if zipped else body) == bundle.page().html


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_are_json_that_nobody_keeps_or_frames(rest, path):
    """They are read by the page only."""
    status, headers, body = rest.ask("GET", path)

    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/", "/docs", *DOCUMENTS])
@pytest.mark.parametrize(
    "wrong",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Dest": "iframe"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
    ids=lambda wrong: next(iter(wrong.items())),
)
def test_other_pages_get_nothing(rest, path, wrong):
    """Wrong Host, wrong Origin, a frame and another site are refused, each with the way out."""
    status, _, body = rest.ask("GET", path, **wrong)

    assert status == 403
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize("path", ["/v1/models", "/v2", "/healthz"])
def test_the_apis_are_not_guarded(rest, path):
    """Programs call them under any name, and pages as before."""
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert rest.ask("GET", path, **headers)[0] == 200


def test_cors_does_not_open_the_console(running_server, models_dir):
    """--rest_api_enable_cors_support is about the APIs."""
    with running_server(models_dir, rest_api_enable_cors_support=True) as address:
        rest = Http(address)
        api = rest.ask("GET", "/v1/models", Origin="http://a.example")
        document = rest.ask("GET", "/console/models", Origin="http://a.example")
        own = rest.ask("GET", "/console/models")

    assert api[1]["access-control-allow-origin"] == "*"
    assert document[0] == 403
    assert "access-control-allow-origin" not in {**document[1], **own[1]}


def test_further_hosts_are_named_by_a_flag(running_server, models_dir):
    """--console_hosts has names without ports."""
    with running_server(models_dir, console_hosts="a.example,b.example") as address:
        rest = Http(address)
        found = [
            rest.ask("GET", "/console/models", Host=host)[0]
            for host in ("a.example:8501", "B.example", "c.example")
        ]

    assert found == [200, 200, 403]


def test_the_console_can_be_switched_off(running_server, models_dir):
    """Its routes are gone, and `/` is the small page without a script."""
    with running_server(models_dir, enable_console=False) as address:
        rest = Http(address)
        _, _, page = rest.ask("GET", "/")
        found = {path: rest.ask("GET", path)[0] for path in ("/docs", *DOCUMENTS)}

    assert set(found.values()) == {404}
    assert b"<script" not in page


def test_the_page_needs_no_key_and_its_documents_need_admin(keyed):
    """The page is the same for everyone; what it shows is for admins."""
    assert keyed.ask("GET", "/")[2] == bundle.page().html
    assert keyed.ask("GET", "/console/models")[0] == 401
    assert keyed.ask("GET", "/console/models", x_api_key=key_of("user"))[0] == 403
    assert keyed.ask("GET", "/openapi.json", x_api_key=key_of("user"))[0] == 200
    assert keyed.ask("GET", "/openapi.json", x_api_key=key_of("part"))[0] == 403
    status, _, body = keyed.ask("GET", "/console/models", x_api_key=key_of("root"))
    assert status == 200
    assert json.loads(body)["caller"] == {
        "name": "root",
        "roles": ["admin", "health", "metadata", "predict"],
    }


def test_an_admin_of_one_model_sees_no_other(keyed, models_dir):
    """Neither its name nor its figures nor its papers."""
    secret = {"x_api_key": key_of("part")}
    _, _, models = keyed.ask("GET", "/console/models", **secret)
    _, _, figures = keyed.ask("GET", "/console/figures", **secret)
    own = keyed.ask("GET", "/console/models/identity/versions/1", **secret)
    other = keyed.ask("GET", "/console/models/add/versions/1", **secret)
    _, _, everything = keyed.ask("GET", "/console/figures", x_api_key=key_of("root"))

    assert [model["name"] for model in json.loads(models)["models"]] == ["identity"]
    assert json.loads(figures)["models"].keys() == {"identity"}
    assert b"lookup" not in models + figures
    assert (own[0], other[0]) == (200, 403)
    assert json.loads(everything)["models"].keys() == {each.name for each in models_dir.iterdir()}


def test_the_admin_listener_is_where_alone_the_documents_are(running_server, models_dir):
    """With --admin_address the ports show the page, and refuse what it asks for."""
    with servers.model_server(models_dir, admin_address="127.0.0.1:0") as server:
        port = Http(f"127.0.0.1:{server.port}")
        admin = Http(f"127.0.0.1:{server.admin_port}")
        refused = port.ask("GET", "/console/models")
        found = [http.ask("GET", "/")[0] for http in (port, admin)]
        answered = admin.ask("GET", "/console/models")[0]
        predicted = admin.post("/v1/models/identity:predict", {"instances": [[1, 2, 3]]})[0]
        described = port.ask("GET", "/openapi.json")[0]

    assert refused[0] == 403
    assert b"--admin_address" in refused[2]
    assert found == [200, 200]
    assert (answered, predicted, described) == (200, 200, 200)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/models/nope/versions/1", 404),
        ("/console/models/identity/versions/7", 404),
        ("/console/models/identity/versions/x", 404),
        (f"/console/models/identity/versions/{'7' * 5000}", 404),
        ("/console/models/..%2F..%2Fetc/versions/1", 404),
        ("/console/nope", 404),
    ],
)
def test_what_does_not_exist_is_not_found(rest, path, status):
    """A name never becomes a path outside of the model's folder."""
    assert rest.ask("GET", path)[0] == status


def test_the_documents_cost_two_a_second_at_most(running_server, tmp_path, monkeypatch):
    """Any number of open pages share what was computed half a second ago."""
    tiny_models.identity(tmp_path)
    made = []
    from serving.console import live_figures  # noqa: PLC0415 - patched before the server starts

    real = live_figures.document
    monkeypatch.setattr(live_figures, "document", lambda *args: made.append(1) or real(*args))
    with running_server(tmp_path) as address:
        rest = Http(address)
        statuses = {rest.ask("GET", "/console/figures")[0] for _ in range(100)}

    assert statuses == {200}
    assert 0 < len(made) < 50


def test_the_figures_of_workers_are_summed(tmp_path):
    """Every worker answers with the requests of both."""
    tiny_models.identity(tmp_path)
    flags = ("--models_dir", str(tmp_path), "--port", "0", "--workers", "2")
    with servers.as_process(*flags) as server:
        address = server.wait_for(r"bound (\S+), starting")[1]
        server.wait_for("ready: 2 workers")
        for _ in range(12):  # each on a connection of its own
            with PredictClient(address) as client:
                client.predict("identity", {"x": np.ones((1, 3), np.float32)})
        keys_files.wait_until(
            lambda: Http(address).get("/console/figures")[1]["models"]["identity"]["answered"] == 12
        )
        _, figures = Http(address).get("/console/figures")
        _, models = Http(address).get("/console/models")

    assert figures["models"]["identity"]["request"]["counts"][-1] == 12
    assert (figures["server"]["workers"], figures["server"]["workers_ready"]) == (2, 2)
    assert models["server"]["workers"] == 2
