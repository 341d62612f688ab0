"""The page at `/`."""

import tiny_models
from rest_client import Http


def test_the_start_page_lists_models_and_links(models_dir, running_server):
    """Every model is there with its versions and a link to its metadata, which answers."""
    with running_server(models_dir) as address:
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

    with running_server(tmp_path) as address:
        _, _, body = Http(address).ask("GET", "/")

    assert b"<script>" not in body
    assert b"&lt;script&gt;alert(1)&lt;" in body
