"""HTTP routes for orchestrators and Prometheus: liveness, readiness and metrics."""

import json
import re
from collections.abc import Awaitable, Callable

from serving.access.roles import Role
from serving.engine.catalog import Catalog
from serving.monitoring.metrics_page import CONTENT_TYPE
from serving.protocols.health_methods import Health
from serving.transport.route_table import HttpRequest, HttpResponse, Route

MetricsText = Callable[[], Awaitable[bytes]]


class Probes:
    """Handlers of `/healthz`, `/readyz` and the metrics page."""

    def __init__(
        self, health: Health, catalog: Catalog, page: MetricsText, *, metrics_path: str | None
    ) -> None:
        """Bind the handlers.

        Args:
            health: Has the readiness of the server.
            catalog: Has the names of the models that could not be loaded.
            page: Returns the text of the metrics page.
            metrics_path: Path of the metrics page; None for no such page.
        """
        self._health = health
        self._catalog = catalog
        self._page = page
        self._metrics_path = metrics_path

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        routes = self.health_routes()
        if self._metrics_path:
            path = re.compile(re.escape(self._metrics_path))
            routes.append(Route("GET", path, self.metrics, role=Role.METRICS, traced=False))
        return routes

    def health_routes(self) -> list[Route]:
        """Return the rows of liveness and readiness, without the metrics page."""
        return [
            Route("GET", re.compile("/healthz"), self.live, role=Role.HEALTH, traced=False),
            Route("GET", re.compile("/readyz"), self.ready, role=Role.HEALTH, traced=False),
        ]

    async def live(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /healthz` with 200: a server that answers is alive."""
        return HttpResponse(body=b'{"status": "alive"}')

    async def ready(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /readyz` with 200 if the health service's state is SERVING, otherwise 503.

        A 503 has the reason. If models could not be loaded, a 200 has their names in
        `failed_models`; the server serves the other models.
        """
        if self._health.is_serving():
            failed = self._catalog.failed
            answer = {"status": "SERVING"} | ({"failed_models": failed} if failed else {})
            return HttpResponse(body=json.dumps(answer).encode())
        reason = "the server is loading its models or shutting down; ask again"
        body = json.dumps({"status": "NOT_SERVING", "error": reason}).encode()
        return HttpResponse(status=503, body=body)

    async def metrics(self, _request: HttpRequest) -> HttpResponse:
        """Answer a GET of the metrics path with the metrics page."""
        return HttpResponse(body=await self._page(), content_type=CONTENT_TYPE)
