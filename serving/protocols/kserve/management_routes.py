"""The routes that Triton adds to the protocol's, without inference."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.access import audit
from serving.access.roles import Role
from serving.errors import InvalidInput
from serving.protocols.kserve.management import Management
from serving.protocols.kserve.model_repository import ModelRepository
from serving.protocols.kserve.routes import MODEL, model_of
from serving.transport.route_table import HttpRequest, HttpResponse, Route

# The bodies have a few words. A larger one would hold up the event loop.
_MAX_BODY_BYTES = 1 << 16
_CONTROL = r"/v2/repository/models/(?P<name>[^/]+)/"


class ManagementRoutes:
    """Handlers of the HTTP requests."""

    def __init__(self, management: Management, repository: ModelRepository) -> None:
        """Bind the handlers to the operations that they call."""
        self._management = management
        self._repository = repository

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        trace, log = r"/v2(?:/models/(?P<name>[^/]+))?/trace/setting", re.compile(r"/v2/logging")
        rows = (
            ("GET", re.compile(MODEL + "/config"), self.config, Role.METADATA),
            ("GET", re.compile(r"/v2/models/stats"), self.all_stats, Role.METADATA),
            ("GET", re.compile(MODEL + "/stats"), self.stats, Role.METADATA),
            ("POST", re.compile(r"/v2/repository/index"), self.index, Role.METADATA),
            ("POST", re.compile(_CONTROL + "load"), self.load, Role.ADMIN),
            ("POST", re.compile(_CONTROL + "unload"), self.unload, Role.ADMIN),
            ("GET", re.compile(trace), self.trace_setting, Role.METADATA),
            ("POST", re.compile(trace), self.change_trace_setting, Role.METADATA),
            ("GET", log, self.logging, Role.METADATA),
            ("POST", log, self.change_logging, Role.METADATA),
        )
        return [
            Route(method, pattern, handler, role=role) for method, pattern, handler, role in rows
        ]

    async def config(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/models/NAME[/versions/V]/config`."""
        return _response(self._management.model_config(*model_of(request)))

    async def stats(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/models/NAME[/versions/V]/stats`."""
        return _response({"model_stats": await self._management.statistics(*model_of(request))})

    async def all_stats(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/models/stats`, for all models."""
        return _response({"model_stats": await self._management.statistics()})

    async def index(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2/repository/index`."""
        ready = _body(request).get("ready", False)
        if not isinstance(ready, bool):
            msg = f'"ready" is {ready!r}, expected true or false'
            raise InvalidInput(msg)
        index = await self._repository.index(ready=ready)
        # As in Triton, a model that was never loaded has only its name.
        entries = [entry._asdict() if entry.state else {"name": entry.name} for entry in index]
        return _response(entries)

    async def load(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2/repository/models/NAME/load` when the model is served."""
        parameters = _body(request).get("parameters", {})
        if not isinstance(parameters, dict):
            msg = f'"parameters" is {parameters!r}, expected an object'
            raise InvalidInput(msg)
        await self._repository.load(_name(request), parameters, peer=_peer(request))
        return HttpResponse(body=b"")

    async def unload(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2/repository/models/NAME/unload` when the model is served no more.

        No model depends on another one, so that `unload_dependents` has nothing to do.
        """
        _body(request)
        await self._repository.unload(_name(request), peer=_peer(request))
        return HttpResponse(body=b"")

    async def trace_setting(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2[/models/NAME]/trace/setting` with the settings."""
        return _response(self._management.trace_settings(_name(request), {}))

    async def change_trace_setting(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2[/models/NAME]/trace/setting`; a change is refused."""
        return _response(self._management.trace_settings(_name(request), _body(request)))

    async def logging(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v2/logging` with the settings."""
        return _response(self._management.log_settings({}))

    async def change_logging(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST /v2/logging`; a change is refused."""
        return _response(self._management.log_settings(_body(request)))


def _name(request: HttpRequest) -> str:
    return request.parameters["name"] or ""


def _peer(request: HttpRequest) -> str:
    return audit.peer_of(request.hold.caller if request.hold else None)


def _body(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object of a body, which may be empty.

    Raises:
        InvalidInput: it is not a JSON object, or too large.
    """
    size = len(request.body)
    if size > _MAX_BODY_BYTES:
        msg = (
            f"request body has {size} bytes, expected at most {_MAX_BODY_BYTES}; a load request "
            "takes no files: put the version into the server's folder of models"
        )
        raise InvalidInput(msg)
    try:
        document = json.loads(request.body) if request.body.strip() else {}
    except (ValueError, RecursionError) as error:
        msg = f"request body is not JSON: {error}"
        raise InvalidInput(msg) from error
    if not isinstance(document, dict):
        msg = f"request body is {type(document).__name__}, expected a JSON object"
        raise InvalidInput(msg)
    return document


def _response(document: Mapping[str, Any] | Sequence[Any]) -> HttpResponse:
    return HttpResponse(body=json.dumps(document).encode())
