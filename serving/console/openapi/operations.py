"""What OpenAPI needs to know about each handler beside its route: summary, bodies and statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TFS, _KSERVE, _PROBES = "TensorFlow Serving", "KServe v2", "Operations"
_TRITON = "Triton's extensions of KServe v2"
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
        may_be_empty: Whether the body may be left out.
        answers: Name of the schema of an answer with status 200; empty for text, None for an answer
            without a body.
        statuses: Statuses of its errors, beside those of callers who may not call it.
        unready: Name of the schema of an answer with status 503; empty if that is an error.
        bytes_too: Whether bodies may have bytes of tensors after the JSON.
        example: A body that the bundled model `simcnn` or any model takes; None: no example.
    """

    tag: str
    summary: str
    takes: str = ""
    may_be_empty: bool = False
    answers: str | None = ""
    statuses: tuple[int, ...] = ()
    unready: str = ""
    bytes_too: bool = False
    example: Mapping[str, Any] | None = None

    @property
    def error_statuses(self) -> list[int]:
        """The statuses whose body is an `Error`, in ascending order."""
        wanted = {*self.statuses, *_CALLER}
        return sorted(wanted - {503} if self.unready else wanted)


_SETTINGS = (400, 501)
_CONTROL = (400, 404, 500, 503)
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
    "ManagementRoutes.config": Operation(
        tag=_TRITON,
        summary="Configuration of a model: inputs, outputs, batching, version policy",
        answers="ModelConfig",
        statuses=(400, 404, 501, 503),
    ),
    "ManagementRoutes.all_stats": Operation(
        tag=_TRITON,
        summary="Statistics of all models",
        answers="ModelStatistics",
        statuses=(400, 503),
    ),
    "ManagementRoutes.stats": Operation(
        tag=_TRITON,
        summary="Statistics of a model: requests, queue, batches",
        answers="ModelStatistics",
        statuses=(400, 404, 503),
    ),
    "ManagementRoutes.index": Operation(
        tag=_TRITON,
        summary="All models that are served or may be loaded, with their versions",
        takes="IndexRequest",
        may_be_empty=True,
        answers="ModelIndex",
        statuses=(400, 503),
        example={"ready": True},
    ),
    "ManagementRoutes.load": Operation(
        tag=_TRITON,
        summary="Load a model, with --model_control_mode=explicit",
        takes="LoadRequest",
        may_be_empty=True,
        answers=None,
        statuses=_CONTROL,
        example={"parameters": {"config": '{"max_batch_size": 16}'}},
    ),
    "ManagementRoutes.unload": Operation(
        tag=_TRITON,
        summary="Unload a model, with --model_control_mode=explicit",
        takes="UnloadRequest",
        may_be_empty=True,
        answers=None,
        statuses=_CONTROL,
    ),
    "ManagementRoutes.trace_setting": Operation(
        tag=_TRITON,
        summary="Settings of traces",
        answers="TraceSettings",
        statuses=(400, 404, 503),
    ),
    "ManagementRoutes.change_trace_setting": Operation(
        tag=_TRITON,
        summary="Settings of traces, which calls cannot change",
        takes="NoChanges",
        may_be_empty=True,
        answers="TraceSettings",
        statuses=(404, 503, *_SETTINGS),
    ),
    "ManagementRoutes.logging": Operation(
        tag=_TRITON, summary="Settings of the log", answers="LogSettings"
    ),
    "ManagementRoutes.change_logging": Operation(
        tag=_TRITON,
        summary="Settings of the log, which calls cannot change",
        takes="NoChanges",
        may_be_empty=True,
        answers="LogSettings",
        statuses=_SETTINGS,
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
