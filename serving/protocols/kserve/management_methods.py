"""The methods of GRPCInferenceService that Triton adds to the protocol, without inference."""

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from serving.access import audit
from serving.access.roles import Role
from serving.protocols.kserve.management import Management
from serving.protocols.kserve.methods import KSERVE_SERVICE
from serving.protocols.kserve.model_repository import ModelRepository
from serving.protos.kserve_pb2 import (
    LogSettingsRequest,
    LogSettingsResponse,
    ModelConfigRequest,
    ModelConfigResponse,
    ModelRepositoryParameter,
    ModelStatisticsRequest,
    ModelStatisticsResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    TraceSettingRequest,
    TraceSettingResponse,
)
from serving.transport.method_table import Call, Method, UnaryMethod

Filled = TypeVar("Filled", bound=Message)


class ManagementMethods:
    """Handlers of GRPCInferenceService."""

    def __init__(self, management: Management, repository: ModelRepository) -> None:
        """Bind the handlers to the operations that they call."""
        self._management = management
        self._repository = repository

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ModelConfig",
                request_type=ModelConfigRequest,
                handler=self.model_config,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/ModelStatistics",
                request_type=ModelStatisticsRequest,
                handler=self.model_statistics,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/RepositoryIndex",
                request_type=RepositoryIndexRequest,
                handler=self.repository_index,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/RepositoryModelLoad",
                request_type=RepositoryModelLoadRequest,
                handler=self.repository_model_load,
                role=Role.ADMIN,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/RepositoryModelUnload",
                request_type=RepositoryModelUnloadRequest,
                handler=self.repository_model_unload,
                role=Role.ADMIN,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/TraceSetting",
                request_type=TraceSettingRequest,
                handler=self.trace_setting,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{KSERVE_SERVICE}/LogSettings",
                request_type=LogSettingsRequest,
                handler=self.log_settings,
                role=Role.METADATA,
            ),
        ]

    async def model_config(self, request: ModelConfigRequest, _call: Call) -> ModelConfigResponse:
        """Answer GRPCInferenceService.ModelConfig."""
        config = self._management.model_config(request.name, request.version)
        return _filled(ModelConfigResponse(), {"config": config})

    async def model_statistics(
        self, request: ModelStatisticsRequest, _call: Call
    ) -> ModelStatisticsResponse:
        """Answer GRPCInferenceService.ModelStatistics."""
        statistics = await self._management.statistics(request.name, request.version)
        return _filled(ModelStatisticsResponse(), {"model_stats": statistics})

    async def repository_index(
        self, request: RepositoryIndexRequest, _call: Call
    ) -> RepositoryIndexResponse:
        """Answer GRPCInferenceService.RepositoryIndex."""
        index = await self._repository.index(request.repository_name, ready=request.ready)
        return RepositoryIndexResponse(
            models=[RepositoryIndexResponse.ModelIndex(**entry._asdict()) for entry in index]
        )

    async def repository_model_load(
        self, request: RepositoryModelLoadRequest, call: Call
    ) -> RepositoryModelLoadResponse:
        """Answer GRPCInferenceService.RepositoryModelLoad when the model is served."""
        await self._repository.load(
            request.model_name,
            _parameters(request.parameters),
            repository_name=request.repository_name,
            peer=_peer(call),
        )
        return RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: RepositoryModelUnloadRequest, call: Call
    ) -> RepositoryModelUnloadResponse:
        """Answer GRPCInferenceService.RepositoryModelUnload when the model is served no more.

        No model depends on another one, so that `unload_dependents` has nothing to do.
        """
        await self._repository.unload(
            request.model_name, repository_name=request.repository_name, peer=_peer(call)
        )
        return RepositoryModelUnloadResponse()

    async def trace_setting(
        self, request: TraceSettingRequest, _call: Call
    ) -> TraceSettingResponse:
        """Answer GRPCInferenceService.TraceSetting with the settings; a change is refused."""
        settings = self._management.trace_settings(request.model_name, request.settings)
        response = TraceSettingResponse()
        for name, value in settings.items():
            response.settings[name].value.extend(value if isinstance(value, list) else [value])
        return response

    async def log_settings(self, request: LogSettingsRequest, _call: Call) -> LogSettingsResponse:
        """Answer GRPCInferenceService.LogSettings with the settings; a change is refused."""
        response = LogSettingsResponse()
        for name, value in self._management.log_settings(request.settings).items():
            setting = response.settings[name]
            if isinstance(value, bool):
                setting.bool_param = value
            elif isinstance(value, int):
                setting.uint32_param = value
            else:
                setting.string_param = value
        return response


def _filled(message: Filled, document: dict[str, Any]) -> Filled:
    """Return a message with the fields that a document has in their JSON form."""
    return json_format.ParseDict(document, message)


def _parameters(parameters: Mapping[str, ModelRepositoryParameter]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = None if choice is None else getattr(parameter, choice)
    return values


def _peer(call: Call) -> str:
    return audit.peer_of(call.hold.caller if call.hold else None)
