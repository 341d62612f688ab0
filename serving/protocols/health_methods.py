"""grpc.health.v1: whether this server, and each model on it, is ready for requests.

A client may ask for `""` (the whole server), for the name of a service, or for the name of a model.
The whole server is SERVING once every model either is loaded and warmed up or has failed to load. A
failed model is NOT_SERVING under its own name only, so that one bad model does not take the others
out of a load balancer.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

from grpc_health.v1 import health_pb2

from serving.access.caller import CURRENT
from serving.access.roles import Role
from serving.errors import NotFound
from serving.transport.method_table import Call, Method, StreamMethod, UnaryMethod

SERVICE = "grpc.health.v1.Health"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The health states and the handlers that report them. Use it only from the event loop."""

    def __init__(self) -> None:
        self._states: dict[str, int] = {"": NOT_SERVING}
        self._changed = asyncio.Event()  # replaced each time it is set
        self._ended = False

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{SERVICE}/Check",
                request_type=health_pb2.HealthCheckRequest,
                handler=self.check,
                role=Role.HEALTH,
                traced=False,
            ),
            StreamMethod(
                path=f"/{SERVICE}/Watch",
                request_type=health_pb2.HealthCheckRequest,
                handler=self.watch,
                role=Role.HEALTH,
            ),
        ]

    def set_states(self, states: Mapping[str, bool]) -> None:
        """Replace all states: True for SERVING, False for NOT_SERVING; other names are unknown."""
        self._states = {
            name: SERVING if serving else NOT_SERVING for name, serving in states.items()
        }
        self._changed.set()
        self._changed = asyncio.Event()

    def set_not_serving(self) -> None:
        """Answer NOT_SERVING for every name from now on, and tell all watchers."""
        self.set_states(dict.fromkeys(self._states, False))

    def shut_down(self) -> None:
        """Answer NOT_SERVING for every name from now on; tell all watchers and end their calls.

        Otherwise the server would wait for the Watch calls to end, and their clients for the
        server.
        """
        self._ended = True
        self.set_not_serving()

    def is_serving(self, service: str = "") -> bool:
        """Whether a service or model is SERVING; by default the whole server."""
        return bool(self._states.get(service) == SERVING)

    async def check(
        self, request: health_pb2.HealthCheckRequest, _call: Call
    ) -> health_pb2.HealthCheckResponse:
        """Answer Health.Check.

        Raises:
            NotFound: the service is unknown.
        """
        state = self._states.get(request.service)
        if state is None:
            caller = CURRENT.get()
            known = ", ".join(repr(name) for name in self._states if caller.sees(name))
            hint = f"; known here: {known}" if known else ""
            msg = f"unknown service {request.service!r}{hint}"
            raise NotFound(msg)
        return health_pb2.HealthCheckResponse(status=state)

    async def watch(
        self, requests: AsyncIterator[health_pb2.HealthCheckRequest], _call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer Health.Watch: send the state now and after each change, until the server stops."""
        request = await anext(requests, health_pb2.HealthCheckRequest())
        told: int | None = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, SERVICE_UNKNOWN)
            if state != told:
                yield health_pb2.HealthCheckResponse(status=state)
                told = state
            if self._ended:
                return
            await changed.wait()
