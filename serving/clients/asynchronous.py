"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self, Unpack

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2

from serving.clients import pictures
from serving.clients.base import ClientBase
from serving.clients.batches import (
    DEFAULT_BATCH,
    DEFAULT_IN_FLIGHT,
    Arrays,
    Batch,
    batches,
    check_sizes,
)
from serving.clients.messages import (
    CLASSIFY_SIGNATURE,
    classify_request,
    metadata_request,
    predict_request,
    ranked_classes,
    response_arrays,
    signature_defs,
    status_request,
)
from serving.clients.predict_error import BatchError, PredictError, predict_error
from serving.connection import channels
from serving.connection.call_settings import CallSettings
from serving.protos.tensorflow_serving_pb2 import (
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictRequest,
    SignatureDefMap,
)


class AsyncPredictClient(ClientBase):
    """The client for asyncio. Create it in the event loop that uses it."""

    _library: ClassVar[ModuleType] = grpc.aio

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = "",
        outputs: Sequence[str] = (),
        **settings: Unpack[CallSettings],
    ) -> dict[str, np.ndarray]:
        """Run a model; see `PredictClient.predict`."""
        request = predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        return response_arrays(await self._call(channels.PREDICT_PATH, request, settings))

    def predict_batches(
        self,
        model: str,
        inputs: Arrays | Iterable[Arrays],
        *,
        batch: int = DEFAULT_BATCH,
        in_flight: int = DEFAULT_IN_FLIGHT,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = "",
        outputs: Sequence[str] = (),
        **settings: Unpack[CallSettings],
    ) -> AsyncGenerator[dict[str, np.ndarray], None]:
        """Run a model on many rows; see `PredictClient.predict_batches`.

        Iterate with `async for`. An iterable of inputs is read in the event loop. After a `break`,
        call `aclose()` of the iterator to cancel the requests in flight at once.
        """
        check_sizes(batch, in_flight)
        make = partial(
            predict_request,
            model,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        make({})  # raises ValueError for contradictory arguments now, not at the first answer
        return self._batches(make, batches(inputs, batch), in_flight, settings)

    async def classify(
        self,
        model: str,
        images: Iterable[pictures.Picture] | np.ndarray,
        *,
        resize: bool = True,
        version: int | None = None,
        version_label: str | None = None,
        signature_name: str = CLASSIFY_SIGNATURE,
        **settings: Unpack[CallSettings],
    ) -> list[list[tuple[str, float]]]:
        """Name the classes of pictures; see `PredictClient.classify`."""
        # In a thread, because it may read files and encode pixels.
        several = await asyncio.to_thread(pictures.listed, images)
        files = await asyncio.to_thread(pictures.contents, several)
        request = classify_request(
            model,
            files,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
        )
        if not resize:
            signatures = await self.signatures(
                model, version=version, version_label=version_label, **settings
            )
            pictures.check_sizes(several, files, signatures)
        return ranked_classes(await self._call(channels.CLASSIFY_PATH, request, settings))

    async def signatures(
        self,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        **settings: Unpack[CallSettings],
    ) -> SignatureDefMap:
        """Return a model's signatures; see `PredictClient.signatures`."""
        request = metadata_request(model, version, version_label)
        return signature_defs(await self._call(channels.GET_MODEL_METADATA_PATH, request, settings))

    async def statuses(
        self,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        **settings: Unpack[CallSettings],
    ) -> list[ModelVersionStatus]:
        """Return the state of each version of a model; see `PredictClient.statuses`."""
        if version_label is not None:
            request = metadata_request(model, version, version_label)
            labelled = await self._call(channels.GET_MODEL_METADATA_PATH, request, settings)
            version = labelled.model_spec.version.value
        response: GetModelStatusResponse = await self._call(
            channels.GET_MODEL_STATUS_PATH, status_request(model, version), settings
        )
        return list(response.model_version_status)

    async def is_serving(self, service: str = "", **settings: Unpack[CallSettings]) -> bool:
        """Return whether the server reports SERVING; see `PredictClient.is_serving`."""
        request = health_pb2.HealthCheckRequest(service=service)
        response = await self._call(channels.HEALTH_CHECK_PATH, request, settings)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def _batches(
        self,
        make: Callable[[Arrays], PredictRequest],
        parts: Iterable[Batch],
        in_flight: int,
        settings: CallSettings,
    ) -> AsyncGenerator[dict[str, np.ndarray], None]:
        """Yield the answers to batches; `make` returns the request of one."""
        pending: deque[tuple[range, asyncio.Future[Any]]] = deque()
        try:
            for part in parts:
                call = self._call(channels.PREDICT_PATH, make(part.inputs), settings)
                pending.append((part.rows, asyncio.ensure_future(call)))
                if len(pending) == in_flight:
                    yield await _answer(*pending.popleft())
            while pending:
                yield await _answer(*pending.popleft())
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)

    async def _call(self, path: str, request: Any, settings: CallSettings) -> Any:  # noqa: ANN401 - any message
        arguments = self._defaults.arguments(**settings)
        call = self._callables[path]
        if not self._first.was_received:
            call = partial(self._first.wait_async, call)
        try:
            return await call(request, **arguments)
        except grpc.RpcError as error:
            raise predict_error(error) from error


async def _answer(rows: range, call: "asyncio.Future[Any]") -> dict[str, np.ndarray]:
    """Return the answer to a batch.

    Raises:
        BatchError: the call failed.
    """
    try:
        return response_arrays(await call)
    except PredictError as error:
        raise BatchError(error.code, error.message, rows) from error
    finally:
        call.cancel()  # if the wait itself was cancelled
