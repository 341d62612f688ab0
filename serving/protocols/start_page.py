"""The page at `/` of a server without the console: name, version, models, and links."""

import re
from html import escape
from urllib.parse import quote

from serving.access.roles import Role
from serving.engine.catalog import Catalog
from serving.monitoring import identity
from serving.transport.route_table import HttpRequest, HttpResponse, Route

_CONTENT_TYPE = "text/html; charset=utf-8"
# The browser loads nothing and runs no script, even if a model's name contains markup.
_HEADERS = [(b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")]
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 46rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: 0.4rem 0.8rem 0.4rem 0; text-align: left; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
"""


class StartPage:
    """The handler of `GET /`."""

    def __init__(self, catalog: Catalog, *, metrics_path: str | None) -> None:
        """Bind the handler.

        Args:
            catalog: The models and the states of their versions.
            metrics_path: Path of the metrics page; None if the page is switched off.
        """
        self._catalog = catalog
        self._metrics_path = metrics_path

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        return [Route("GET", re.compile("/"), self.page, role=Role.METADATA, traced=False)]

    async def page(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /` with the page as HTML."""
        links = {
            "/v1/models": "models, versions and labels as JSON",
            "/readyz": "readiness",
            **({self._metrics_path: "metrics for Prometheus"} if self._metrics_path else {}),
        }
        body = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{identity.NAME}</title>
<style>{_STYLE}</style>
<h1>{identity.NAME} {escape(identity.version())}</h1>
<p>This server answers TensorFlow Serving's API and KServe v2, over gRPC and REST.</p>
<table>
<tr><th>model</th><th>versions</th><th>signatures</th></tr>
{"".join(map(self._row, self._catalog.visible)) or '<tr><td colspan="3">no model</td></tr>'}
</table>
<ul>{"".join(f'<li><a href="{escape(to)}">{text}</a></li>' for to, text in links.items())}</ul>
<p>A model answers <code>POST /v1/models/NAME:predict</code>, and describes its inputs and outputs
at <code>/v1/models/NAME/metadata</code>.</p>
</html>
"""
        return HttpResponse(body=body.encode(), content_type=_CONTENT_TYPE, headers=_HEADERS)

    def _row(self, name: str) -> str:
        known = self._catalog.known_statuses(name)
        versions = ", ".join(f"{status.version} {status.state.name}" for status in known)
        signatures = ""
        if self._catalog.models[name].servables:
            signatures = ", ".join(sorted(self._catalog.servable(name).signatures))
        path = f"/v1/models/{quote(name, safe='')}/metadata"
        metadata = f'<a href="{path}">{escape(name)}</a>'
        cells = (metadata, escape(versions) or "none found", escape(signatures))
        return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
