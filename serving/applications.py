"""The ASGI applications of the server's ports, built from its services."""

from collections.abc import Sequence
from dataclasses import replace

from serving.access.gate import Gate
from serving.services import Services
from serving.transport.asgi import Application
from serving.transport.grpc_application import GrpcApplication
from serving.transport.http_application import HttpApplication
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.limits.flows import Flows
from serving.transport.limits.unread_answers import UnreadAnswers
from serving.transport.network_config import NetworkConfig
from serving.transport.route_table import Route

# Limits of the health port and of the admin listener.
_FEW_CONNECTIONS = 128
# Limits of the health port, whose requests have a few bytes.
_HEALTH_MESSAGE_BYTES = 4096
_HEALTH_BUFFERED_BYTES = 1 << 20


class Applications:
    """Builds the applications. All of them ask the same gate who may call.

    Attributes:
        budget: The byte budget of all requests except those of the health port.
        http: The application of HTTP requests.
        health_network: Network settings of the health port.
        admin_network: Network settings of the admin listener.
    """

    def __init__(
        self, services: Services, network: NetworkConfig, gate: Gate | None, *, with_cors: bool
    ) -> None:
        """Build the application of HTTP requests.

        Args:
            services: The tables of methods and routes.
            network: The limits on messages and bytes.
            gate: Checks who calls; None: everyone may call all.
            with_cors: Let web pages of any origin read the answers of the APIs.
        """
        self._services = services
        self._gate = gate
        self._most_bytes = network.max_message_bytes
        self._unread = UnreadAnswers(network.max_buffered_bytes)
        self.budget = ByteBudget(network.max_buffered_bytes)
        self._flows = Flows(network.trusted_proxies)
        self._with_cors = with_cors
        self.http = self._http(services.routes)
        few = min(network.max_connections, _FEW_CONNECTIONS)
        self.admin_network = replace(network, max_connections=few)
        self.health_network = replace(
            network, max_connections=few, max_message_bytes=_HEALTH_MESSAGE_BYTES
        )

    def grpc(self, beside: Application) -> Application:
        """Return the application of gRPC calls, which passes other requests to another one."""
        return self._grpc(beside, admin=False)

    def admin(self) -> Application:
        """Return the application of the admin listener, which answers everything."""
        return self._grpc(self._http(self._services.admin_routes), admin=True)

    def _http(self, routes: Sequence[Route]) -> HttpApplication:
        return HttpApplication(
            routes,
            max_body_bytes=self._most_bytes,
            budget=self.budget,
            unread=self._unread,
            with_cors=self._with_cors,
            gate=self._gate,
            flows=self._flows,
        )

    def _grpc(self, beside: Application, *, admin: bool) -> Application:
        return GrpcApplication(
            self._services.admin_methods if admin else self._services.methods,
            beside,
            max_message_bytes=self._most_bytes,
            budget=self.budget,
            unread=self._unread,
            gate=self._gate,
            flows=self._flows,
        )

    def health(self) -> Application:
        """Return the application of the health port, with its own byte budget."""
        limit, gate = _HEALTH_MESSAGE_BYTES, self._gate
        budget = ByteBudget(_HEALTH_BUFFERED_BYTES)
        unread = UnreadAnswers(_HEALTH_BUFFERED_BYTES)
        http = HttpApplication(
            self._services.health_routes,
            max_body_bytes=limit,
            budget=budget,
            unread=unread,
            gate=gate,
        )
        return GrpcApplication(
            self._services.health_methods,
            http,
            max_message_bytes=limit,
            budget=budget,
            unread=unread,
            gate=gate,
        )
