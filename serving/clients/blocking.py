"""The blocking client."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self, Unpack

import grpc
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


class PredictClient(ClientBase):
    """Blocking client with one connection; threads may share it.

    Every method takes the settings of `CallSettings` by name: `timeout`, `metadata`, `compression`
    and `wait_for_ready` of that one call. For settings that a call leaves out, those of the client
    hold.
    """

    _library: ClassVar[ModuleType] = grpc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def predict(
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
        """Run a model.

        Args:
            model: Model name.
            inputs: Arrays by input name; the first dimension is the batch.
            version: Version number; None for the latest version.
            version_label: Version label such as `stable`; excludes `version`.
            signature_name: Signature name; empty for `serving_default`.
            outputs: Names of the outputs to return; empty for all outputs.
            **settings: Settings of this call; see `CallSettings`.

        Returns:
            Arrays by output name. The bundled classifiers return `classes`, int64, shape (batch,),
            and `probabilities`, float32, shape (batch, 10).

        Raises:
            PredictError: the server refused the call or could not be reached in time.
            TypeError: `inputs` are no mapping.
            ValueError: the arguments contradict each other or cannot be sent.
        """
        request = predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
            outputs=outputs,
        )
        return response_arrays(self._call(channels.PREDICT_PATH, request, settings))

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
    ) -> Generator[dict[str, np.ndarray], None, None]:
        """Run a model on many rows, in several requests, and yield the answers in order.

        Args:
            model: Model name.
            inputs: Arrays by input name whose first dimension counts the rows, or an iterable of
                such mappings, read as the requests are sent. Rows of two mappings never share a
                request.
            batch: Most rows of a request.
            in_flight: Most requests at a time. Further ones are sent as answers are taken.
            version: As for `predict`, and so are `version_label`, `signature_name` and `outputs`.
            version_label: See there.
            signature_name: See there.
            outputs: See there.
            **settings: Settings of each request; see `CallSettings`.

        Yields:
            Arrays by output name for each request, in the order of the rows. If the iteration is
            ended early, the requests in flight are cancelled.

        Raises:
            BatchError: a request failed; its message and its `rows` say which rows it had. The
                answers to all rows before them were yielded.
            TypeError: `inputs` are neither a mapping nor an iterable of mappings.
            ValueError: `batch` or `in_flight` is below 1, the arrays of a mapping differ in their
                number of rows, or see `predict`.
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

    def classify(
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
        """Name the classes of pictures.

        Args:
            model: Name of a model with a signature for images, as the bundled ones have.
            images: For each picture its path, the content of a PNG or JPEG file, or its pixels:
                uint8, shape (height, width, 3) or (height, width), 0 to 255. An array of four
                dimensions is a batch of pixels.
            resize: Whether the server may scale pictures of another size than the model's, without
                keeping the aspect ratio. If not, they are refused before they are sent, which needs
                Pillow and one more call, for the model's signatures.
            version: Version number; None for the latest version.
            version_label: Version label; excludes `version`.
            signature_name: Name of the signature for images.
            **settings: Settings of this call; see `CallSettings`.

        Returns:
            For each image, (class name, score) pairs of all classes, highest score first. The
            scores of the bundled classifiers are probabilities.

        Raises:
            ImportError: Pillow is not installed, and pixels are given or `resize` is not set.
            OSError: a file cannot be read.
            PredictError: the server refused the call or could not be reached in time.
            TypeError: `images` are a single picture, or one of them is no picture.
            ValueError: version and label are both given, pixels have another dtype or shape, or a
                picture has another size and `resize` is not set.
        """
        several = pictures.listed(images)
        files = pictures.contents(several)
        request = classify_request(
            model,
            files,
            version=version,
            version_label=version_label,
            signature_name=signature_name,
        )
        if not resize:
            signatures = self.signatures(
                model, version=version, version_label=version_label, **settings
            )
            pictures.check_sizes(several, files, signatures)
        return ranked_classes(self._call(channels.CLASSIFY_PATH, request, settings))

    def signatures(
        self,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        **settings: Unpack[CallSettings],
    ) -> SignatureDefMap:
        """Return the inputs and outputs of each signature of a model, as a SignatureDefMap.

        Args:
            model: Model name.
            version: Version number; None for the latest version.
            version_label: Version label; excludes `version`.
            **settings: Settings of this call; see `CallSettings`.

        Raises:
            PredictError: see `predict`.
            ValueError: version and label are both given.
        """
        request = metadata_request(model, version, version_label)
        return signature_defs(self._call(channels.GET_MODEL_METADATA_PATH, request, settings))

    def statuses(
        self,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        **settings: Unpack[CallSettings],
    ) -> list[ModelVersionStatus]:
        """Return the state of each version of a model, newest version first.

        Args:
            model: Model name.
            version: Number of the only version to return; None for all.
            version_label: Label of the only version to return. Servers ignore labels here, so the
                client first asks which version has the label: two calls, and the version must be
                loaded.
            **settings: Settings of each call; see `CallSettings`.

        Raises:
            PredictError: see `predict`.
            ValueError: version and label are both given.
        """
        if version_label is not None:
            request = metadata_request(model, version, version_label)
            labelled = self._call(channels.GET_MODEL_METADATA_PATH, request, settings)
            version = labelled.model_spec.version.value
        response: GetModelStatusResponse = self._call(
            channels.GET_MODEL_STATUS_PATH, status_request(model, version), settings
        )
        return list(response.model_version_status)

    def is_serving(self, service: str = "", **settings: Unpack[CallSettings]) -> bool:
        """Return whether grpc.health.v1 reports SERVING.

        Args:
            service: Model or service name; empty for the whole server.
            **settings: Settings of this call; see `CallSettings`.

        Raises:
            PredictError: see `predict`.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        response = self._call(channels.HEALTH_CHECK_PATH, request, settings)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def _batches(
        self,
        make: Callable[[Arrays], PredictRequest],
        parts: Iterable[Batch],
        in_flight: int,
        settings: CallSettings,
    ) -> Generator[dict[str, np.ndarray], None, None]:
        """Yield the answers to batches; `make` returns the request of one."""
        pending: deque[tuple[range, Any]] = deque()
        try:
            for part in parts:
                request = make(part.inputs)
                if not self._first.was_received:  # the first request is watched, and runs alone
                    call = partial(self._call, channels.PREDICT_PATH, request, settings)
                    yield _answer(part.rows, call)
                    continue
                arguments = self._defaults.arguments(**settings)
                future = self._callables[channels.PREDICT_PATH].future(request, **arguments)
                pending.append((part.rows, future))
                if len(pending) == in_flight:
                    rows, oldest = pending.popleft()
                    yield _answer(rows, oldest.result)
            while pending:
                rows, oldest = pending.popleft()
                yield _answer(rows, oldest.result)
        finally:
            for _, future in pending:
                future.cancel()

    def _call(self, path: str, request: Any, settings: CallSettings) -> Any:  # noqa: ANN401 - any message
        arguments = self._defaults.arguments(**settings)
        call = self._callables[path]
        if not self._first.was_received:
            call = partial(self._first.wait, call)
        try:
            return call(request, **arguments)
        except grpc.RpcError as error:
            raise predict_error(error) from error


def _answer(rows: range, call: Callable[[], Any]) -> dict[str, np.ndarray]:
    """Return the answer to a batch.

    Raises:
        BatchError: the call failed.
    """
    try:
        return response_arrays(call())
    except PredictError as error:
        raise BatchError(error.code, error.message, rows) from error
    except grpc.RpcError as error:
        failed = predict_error(error)
        raise BatchError(failed.code, failed.message, rows) from error
