"""The routes of the console: the page, and the documents that it asks for.

The page is the same for everyone and has nothing of the server in it, so it needs no key: a browser
cannot send one with the first request. What it shows comes from the other routes. They need the
role `admin`, and the description of the API needs `metadata`.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from prometheus_client import Metric

from serving.access.caller import CURRENT
from serving.access.roles import Role
from serving.console import bundle, live_figures, model_list, version_papers
from serving.console.browser_guard import HEADERS, BrowserGuard
from serving.console.openapi.document import openapi
from serving.engine.catalog import Catalog
from serving.monitoring import identity
from serving.monitoring.shared_result import SharedResult
from serving.transport.route_table import JSON, HttpRequest, HttpResponse, Route

MetricsNow = Callable[[], Awaitable[Sequence[Metric]]]

_DOCUMENT_HEADERS = (
    *HEADERS,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_VERSION = re.compile(r"/console/models/(?P<name>[^/]+)/versions/(?P<version>\d{1,19})")
_Visible = Callable[[Mapping[str, Any], frozenset[str] | None], dict[str, Any]]


class ConsoleRoutes:
    """Handlers of the page and its documents."""

    def __init__(
        self,
        catalog: Catalog,
        metrics: MetricsNow,
        described: Iterable[Route],
        *,
        folder_of: model_list.FolderOf,
        facts: Mapping[str, Any],
        hosts: Iterable[str] = (),
    ) -> None:
        """Bind the handlers.

        Args:
            catalog: The models and the states of their versions.
            metrics: Returns the metrics of this process, or the sum over all worker processes.
            described: The routes of the APIs.
            folder_of: Returns the local folder of a version.
            facts: Facts about the server for the list of models: JSON values by name.
            hosts: Further names under which browsers reach the server.
        """
        self._catalog = catalog
        self._metrics = metrics
        self._described = list(described)
        self._folder_of = folder_of
        self._facts = facts
        self._guard = BrowserGuard(hosts)
        # Any number of pages cost no more than two a second of each document.
        self._models_page = SharedResult(self._make_models)
        self._figures_page = SharedResult(self._make_figures)

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        rows: tuple[tuple[str, Any, Role], ...] = (
            ("/", self.page, Role.HEALTH),
            ("/docs", self.page, Role.HEALTH),
            (r"/openapi\.json", self.openapi, Role.METADATA),
            ("/console/models", self.models, Role.ADMIN),
            ("/console/figures", self.figures, Role.ADMIN),
            (_VERSION.pattern, self.version, Role.ADMIN),
        )
        return [
            Route("GET", re.compile(path), handler, role=role, traced=False, described=False)
            for path, handler, role in rows
        ]

    async def page(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /` and `GET /docs` with the page as HTML.

        Raises:
            PermissionDenied: see `BrowserGuard.check`; so do all handlers.
        """
        self._guard.check(request.headers, is_page=True)
        page = bundle.page()
        headers = [
            *HEADERS,
            (b"cache-control", b"no-cache"),
            (b"content-security-policy", page.policy.encode()),
            (b"vary", b"accept-encoding"),
        ]
        body = page.html
        if _takes_gzip(request.headers):
            headers.append((b"content-encoding", b"gzip"))
            body = page.zipped
        return HttpResponse(body=body, content_type="text/html; charset=utf-8", headers=headers)

    async def openapi(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /openapi.json` with the description of the APIs."""
        self._guard.check(request.headers)
        return _json(self._openapi)

    @cached_property
    def _openapi(self) -> bytes:
        title, version = identity.NAME, identity.version()
        return json.dumps(openapi(self._described, title=title, version=version)).encode()

    async def models(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /console/models` with the list of models; see `model_list`."""
        self._guard.check(request.headers)
        body = _for_caller(await self._models_page.get(), model_list.visible)
        caller = CURRENT.get()
        about = json.dumps({"name": caller.name, "roles": sorted(caller.roles)}).encode()
        return _json(b'{"caller":' + about + b"," + body[1:])

    async def _make_models(self) -> bytes:
        files = model_list.graph_files(self._catalog)
        sizes = await asyncio.to_thread(model_list.sizes_of, files, self._folder_of)
        return model_list.encoded(model_list.document(self._catalog, self._facts, sizes))

    async def figures(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /console/figures` with the counts since the start; see `live_figures`."""
        self._guard.check(request.headers)
        return _json(_for_caller(await self._figures_page.get(), live_figures.visible))

    async def _make_figures(self) -> bytes:
        metrics = await self._metrics()
        state = model_list.state(self._catalog)
        return model_list.encoded(live_figures.document(metrics, state))

    async def version(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /console/models/NAME/versions/N` with the version's papers.

        Raises:
            NotFound: the model or the version is unknown.
            PermissionDenied: the caller may not use the model.
        """
        self._guard.check(request.headers)
        name, version = request.parameters["name"] or "", int(request.parameters["version"] or 0)
        self._catalog.statuses(name, version)
        catalog = self._catalog
        places = (catalog.models, catalog.coming, catalog.former)
        entry = next(entries[name] for entries in places if name in entries)
        base_path, folder_of = entry.config.base_path, self._folder_of
        papers = await asyncio.to_thread(version_papers.read, base_path, version, folder_of)
        return _json(model_list.encoded(papers))


def _takes_gzip(headers: Mapping[bytes, bytes]) -> bool:
    for part in headers.get(b"accept-encoding", b"").lower().split(b","):
        name, _, quality = part.partition(b";")
        if name.strip() == b"gzip":
            return quality.strip() != b"q=0"
    return False


def _json(body: bytes) -> HttpResponse:
    return HttpResponse(body=body, content_type=JSON, headers=_DOCUMENT_HEADERS)


def _for_caller(body: bytes, visible: _Visible) -> bytes:
    """Return a document with the models that the current caller may use."""
    models = CURRENT.get().models
    return body if models is None else model_list.encoded(visible(json.loads(body), models))
