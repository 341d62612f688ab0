"""The page at `/` of a server without the console."""

import asyncio
import re
from pathlib import Path

from calling.rest_client import Http
from sample_models import tiny_models

from serving.engine.catalog import Catalog, ModelEntry, State, VersionStatus
from serving.protocols.start_page import StartPage
from serving.repository.model_config import ModelConfig


def test_the_start_page_lists_models_and_links(models_dir, running_server):
    """Every model is there with its versions and a link to its metadata, which answers."""
    with running_server(models_dir, enable_console=False) as address:
        rest = Http(address)
        status, headers, body = rest.ask("GET", "/")
        linked = [
            rest.ask("GET", path)[0]
            for path in (
                "/v1/models",
                "/readyz",
                "/monitoring/prometheus/metrics",
                "/v1/models/identity/metadata",
            )
            if f'href="{path}"' in body.decode()
        ]

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "<td>1 AVAILABLE</td>" in body.decode()
    assert linked == [200, 200, 200, 200]


def test_a_models_name_is_text_on_the_start_page(tmp_path, running_server):
    """A folder called like a tag does not become one."""
    tiny_models.identity(tmp_path)
    (tmp_path / "identity").rename(tmp_path / "<script>alert(1)<")

    with running_server(tmp_path, enable_console=False) as address:
        _, _, body = Http(address).ask("GET", "/")

    assert b"<script>" not in body
    assert b"&lt;script&gt;alert(1)&lt;" in body


def test_a_models_versions_are_listed_with_their_states():
    """All of them; of a model without a version, that there is none."""
    catalog = Catalog()
    catalog.models = {
        name: ModelEntry(ModelConfig(name=name, base_path=Path("/models")))
        for name in ("several", "none")
    }
    for version, state in ((2, State.LOADING), (1, State.END)):
        catalog.models["several"].set_status(VersionStatus(version=version, state=state))
    page = StartPage(catalog, metrics_path=None)

    body = asyncio.run(page.page(None)).body.decode()

    several, none = re.findall(r"<tr><td>.*</td></tr>", body)
    assert "<td>2 LOADING, 1 END</td><td></td>" in several
    assert "<td>none found</td><td></td>" in none
    assert "metrics" not in body


def test_a_server_without_models_says_so():
    """In place of the rows."""
    page = StartPage(Catalog(), metrics_path="/metrics")

    body = asyncio.run(page.page(None)).body.decode()

    assert '<tr><td colspan="3">no model</td></tr>' in body
    assert re.findall(r'<a href="(.*)">(.*)</a></li>', body.replace("</li>", "</li>\n")) == [
        ("/v1/models", "models, versions and labels as JSON"),
        ("/readyz", "readiness"),
        ("/metrics", "metrics for Prometheus"),
    ]


def test_a_link_leads_to_a_model_with_an_unusual_name(tmp_path, running_server):
    """The link is percent-encoded, so a name with %, ? and a space gets its own metadata."""
    tiny_models.identity(tmp_path)
    (tmp_path / "identity").rename(tmp_path / "50%25 off?")

    with running_server(tmp_path, enable_console=False) as address:
        rest = Http(address)
        _, _, body = rest.ask("GET", "/")
        link = re.search(r'href="(/v1/models/[^"]+/metadata)"', body.decode())[1]
        status, answer = rest.get(link)

    assert status == 200
    assert answer["model_spec"]["name"] == "50%25 off?"
