"""What orchestrators and Prometheus ask over plain HTTP: liveness, readiness, metrics."""

import json
import re
from collections.abc import Awaitable, Callable

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
            health: Knows whether the server is ready.
            catalog: Knows which models could not be loaded.
            page: Gives the page of metrics.
            metrics_path: Where they are found; None for nowhere.
        """
        self._health = health
        self._catalog = catalog
        self._page = page
        self._metrics_path = metrics_path

    def routes(self) -> list[Route]:
        """The rows of the route table."""
        routes = self.health_routes()
        if self._metrics_path:
            routes.append(
                Route("GET", re.compile(re.escape(self._metrics_path)), self.metrics, traced=False)
            )
        return routes

    def health_routes(self) -> list[Route]:
        """Those about health alone."""
        return [
            Route("GET", re.compile("/healthz"), self.live, traced=False),
            Route("GET", re.compile("/readyz"), self.ready, traced=False),
        ]

    async def live(self, _request: HttpRequest) -> HttpResponse:
        """`GET /healthz`: whoever can answer is alive."""
        return HttpResponse(body=b'{"status": "alive"}')

    async def ready(self, _request: HttpRequest) -> HttpResponse:
        """`GET /readyz`: 200 if gRPC's health service says SERVING, else 503 and the reason.

        `failed_models` names the models that could not be loaded, if any: the others are served.
        """
        if self._health.is_serving():
            failed = self._catalog.failed
            answer = {"status": "SERVING"} | ({"failed_models": failed} if failed else {})
            return HttpResponse(body=json.dumps(answer).encode())
        reason = "the server is loading its models or shutting down; ask again"
        body = json.dumps({"status": "NOT_SERVING", "error": reason}).encode()
        return HttpResponse(status=503, body=body)

    async def metrics(self, _request: HttpRequest) -> HttpResponse:
        """`GET /monitoring/prometheus/metrics`, or wherever the page was put."""
        return HttpResponse(body=await self._page(), content_type=CONTENT_TYPE)
