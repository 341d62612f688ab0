"""gRPC server reflection, so that grpcurl, Postman and ghz need no .proto files.

The answers come from grpcio-reflection. Its servicer imports grpc, which takes 16 MB and which the
server needs for nothing else; it is therefore imported when the first reflection call arrives.
"""

from collections.abc import AsyncIterator, Iterable
from functools import cached_property
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from serving.access.roles import Role
from serving.protos.pool import POOL
from serving.transport.method_table import Call, Method, StreamMethod

# The two versions have the same messages under different names, so one handler serves both.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

# Reflection describes the health and reflection services, too. Their files are in protobuf's
# default pool and must be added to ours.
for _module in (health_pb2, reflection_pb2):
    POOL.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)


class Reflection:
    """The handlers of server reflection."""

    def __init__(self, service_names: Iterable[str]) -> None:
        """Prepare to describe services.

        Args:
            service_names: Full names of the services that the server offers; the reflection
                services are added to them.
        """
        self._service_names = (*service_names, *SERVICES)

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            StreamMethod(
                path=f"/{service}/ServerReflectionInfo",
                request_type=reflection_pb2.ServerReflectionRequest,
                handler=self.server_reflection_info,
                role=Role.METADATA,
            )
            for service in SERVICES
        ]

    async def server_reflection_info(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], _call: Call
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answer ServerReflection.ServerReflectionInfo with one response per request."""
        async for request in requests:
            for response in self._servicer.ServerReflectionInfo(iter([request]), None):
                yield response

    @cached_property
    def _servicer(self) -> Any:  # noqa: ANN401 - grpcio-reflection has no types
        from grpc_reflection.v1alpha.reflection import ReflectionServicer  # noqa: PLC0415

        return ReflectionServicer(self._service_names, pool=POOL)
