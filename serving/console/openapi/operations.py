"""What OpenAPI needs to know about each handler beside its route: summary, bodies and statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TFS, _KSERVE, _PROBES = "TensorFlow Serving", "KServe v2", "Operations"
JSON, BYTES, TEXT = "application/json", "application/octet-stream", "text/plain"
_CALLER = (401, 403, 429)
_INFERENCE = (400, 404, 500, 501, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """The description of one handler.

    Attributes:
        tag: The API that it belongs to.
        summary: What it does, in a few words.
        takes: Name of the body's schema; empty for no body.
        answers: Name of the schema of an answer with status 200; empty for text.
        statuses: Statuses of its errors, beside those of callers who may not call it.
        unready: Name of the schema of an answer with status 503; empty if that is an error.
        bytes_too: Whether bodies may have bytes of tensors after the JSON.
        example: A body that the bundled model `simcnn` or any model takes; None: no example.
    """

    tag: str
    summary: str
    takes: str = ""
    answers: str = ""
    statuses: tuple[int, ...] = ()
    unready: str = ""
    bytes_too: bool = False
    example: Mapping[str, Any] | None = None

    @property
    def error_statuses(self) -> list[int]:
        """The statuses whose body is an `Error`, in ascending order."""
        wanted = {*self.statuses, *_CALLER}
        return sorted(wanted - {503} if self.unready else wanted)


_PICTURE = {"image/encoded": {"b64": "iVBORw0KGgo="}}

# By the qualified name of the handler.
OPERATIONS: dict[str, Operation] = {
    "PredictRoutes.predict": Operation(
        tag=_TFS,
        summary="Run a model on tensors",
        takes="PredictRequest",
        answers="PredictResponse",
        statuses=_INFERENCE,
        example={"signature_name": "serving_default", "instances": [[1.0, 2.0, 3.0]]},
    ),
    "ClassifyRoutes.classify": Operation(
        tag=_TFS,
        summary="Name and score of every class, for each tf.Example",
        takes="ExamplesRequest",
        answers="ClassifyResponse",
        statuses=_INFERENCE,
        example={"signature_name": "classify", "examples": [_PICTURE]},
    ),
    "ClassifyRoutes.regress": Operation(
        tag=_TFS,
        summary="A number for each tf.Example",
        takes="ExamplesRequest",
        answers="RegressResponse",
        statuses=_INFERENCE,
        example={"examples": [{"x": [1.0, 2.0]}]},
    ),
    "PredictRoutes.status": Operation(
        tag=_TFS,
        summary="State of a model's versions",
        answers="StatusResponse",
        statuses=(400, 404),
    ),
    "PredictRoutes.metadata": Operation(
        tag=_TFS,
        summary="Signatures of a model",
        answers="MetadataResponse",
        statuses=(400, 404, 503),
    ),
    "PredictRoutes.models": Operation(
        tag=_TFS, summary="All models with their versions and labels", answers="ModelsResponse"
    ),
    "KServeRoutes.infer": Operation(
        tag=_KSERVE,
        summary="Run a model on tensors",
        takes="InferRequest",
        answers="InferResponse",
        statuses=_INFERENCE,
        bytes_too=True,
        example={
            "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]
        },
    ),
    "KServeRoutes.model_metadata": Operation(
        tag=_KSERVE,
        summary="Inputs and outputs of a model",
        answers="ModelMetadata",
        statuses=(400, 404, 503),
    ),
    "KServeRoutes.model_ready": Operation(
        tag=_KSERVE,
        summary="Whether a model answers",
        answers="ModelReady",
        statuses=(400, 404, 503),
    ),
    "KServeRoutes.server_metadata": Operation(
        tag=_KSERVE, summary="Name and version of the server", answers="ServerMetadata"
    ),
    "KServeRoutes.server_live": Operation(
        tag=_KSERVE, summary="Whether the server is alive", answers="Live"
    ),
    "KServeRoutes.server_ready": Operation(
        tag=_KSERVE, summary="Whether the server is ready", answers="Ready", statuses=(503,)
    ),
    "Probes.live": Operation(tag=_PROBES, summary="Whether the server is alive", answers="Alive"),
    "Probes.ready": Operation(
        tag=_PROBES,
        summary="Whether the server is ready",
        answers="Readiness",
        unready="Readiness",
    ),
    "Probes.metrics": Operation(tag=_PROBES, summary="Metrics for Prometheus", statuses=(503,)),
}
