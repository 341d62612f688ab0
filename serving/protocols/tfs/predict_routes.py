"""TensorFlow Serving's REST API: decode JSON, call the predictor or read the catalog, encode JSON.

    POST /v1/models/NAME[/versions/N|/labels/L]:predict
    GET  /v1/models                                         the models; TensorFlow Serving has none
    GET  /v1/models/NAME[/versions/N|/labels/L]             state of the versions
    GET  /v1/models/NAME[/versions/N|/labels/L]/metadata    signatures

Paths, bodies, messages and HTTP codes follow model_servers/http_rest_api_{handler,util}.cc. Like
TensorFlow Serving, the server ignores the content type of a request.
"""

import re
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from serving.access.roles import Role
from serving.engine.catalog import Catalog, VersionStatus
from serving.engine.servable import Servable
from serving.errors import InvalidInput
from serving.inference.predictor import Predictor
from serving.inference.request import as_it_is
from serving.monitoring.counts import REST, Metrics
from serving.protocols.json_process import ELEMENT_BYTES, JsonProcesses
from serving.protocols.tfs import json_predict, tensor_proto
from serving.protocols.tfs.json_predict import SignatureInputs
from serving.protocols.tfs.json_text import jobs
from serving.protocols.tfs.model_paths import model_route, model_spec
from serving.protocols.time_limit import time_limit
from serving.protos.tensorflow_pb2 import TensorProto
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, TensorSpec
from serving.transport.route_table import HttpRequest, HttpResponse, Route, json_response

_MODELS = re.compile(r"(?i:/v1/models)")
_NAMELESS = re.compile(r"(?i:/v1/models(?:/versions/\d+|/labels/[^/:]+)?(?:/metadata)?)")


class PredictRoutes:
    """Handlers of Predict, status and metadata."""

    def __init__(
        self,
        predictor: Predictor,
        catalog: Catalog,
        metrics: Metrics,
        json: JsonProcesses,
        *,
        timeout_in_ms: int = 30_000,
        tfs_format: bool = False,
    ) -> None:
        """Bind the handlers.

        Args:
            predictor: Runs the requests.
            catalog: Has the states of the versions.
            metrics: Counts requests.
            json: Child processes that read and write large bodies.
            timeout_in_ms: Time limit of a call in milliseconds, from the last byte of its request
                on (`--rest_api_timeout_in_ms`).
            tfs_format: Whether answers have TensorFlow Serving's layout
                (`--rest_api_tfs_format`).
        """
        self._json = json
        self._predictor = predictor
        self._catalog = catalog
        self._metrics = metrics
        self._timeout_in_ms = timeout_in_ms
        self._tfs_format = tfs_format

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        return [
            Route("POST", model_route(":predict"), self.predict, role=Role.PREDICT),
            Route("GET", model_route(""), self.status, role=Role.METADATA),
            Route("GET", model_route("(?i:/metadata)"), self.metadata, role=Role.METADATA),
            Route("GET", _MODELS, self.models, role=Role.METADATA),
            Route("GET", _NAMELESS, self.nameless, role=Role.METADATA, described=False),
        ]

    async def predict(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST ...:predict` for rows (`instances`) or columns (`inputs`)."""
        spec = model_spec(request)
        asked = (spec.version, spec.version_label)
        with self._metrics.request(spec.name, "Predict", REST, *asked) as outcome:
            servable = self._predictor.servable(spec)
            async with time_limit(self._timeout_in_ms) as deadline:
                with servable.hold():  # keep it loaded while a large body is read
                    name, arrays, rows = await jobs.read(
                        self._json,
                        request,
                        json_predict.read_predict,
                        {
                            name: SignatureInputs(signature.inputs, tuple(signature.defaults))
                            for name, signature in servable.signatures.items()
                        },
                        DEFAULT_SIGNATURE_NAME,
                    )
                    if arrays is None:
                        raise _no_signature(servable, name)
                    prediction = await self._predictor.predict_on(
                        servable,
                        name or DEFAULT_SIGNATURE_NAME,
                        arrays,
                        as_it_is,
                        deadline=deadline,
                        account=request.hold,
                    )
                elements = sum(array.size for array in prediction.outputs.values())
                body = await self._json.run_for(
                    request,
                    ELEMENT_BYTES * elements,
                    json_predict.encode_outputs,
                    prediction.outputs,
                    rows=rows,
                    tfs_format=self._tfs_format,
                )
            outcome.answered(prediction.servable, prediction.signature_name)
        return HttpResponse(body=body)

    async def status(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET ...` with the state of all known versions, or of the version in the path.

        A label in the path is ignored.
        """
        spec = model_spec(request)
        statuses = self._catalog.statuses(spec.name, spec.version)
        return json_response({"model_version_status": list(map(_status, statuses))}, indent=1)

    async def models(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /v1/models` with the models that the caller may see: versions and labels."""
        models = [
            {
                "name": name,
                "model_version_status": list(map(_status, self._catalog.known_statuses(name))),
                "version_labels": {
                    label: str(version) for label, version in entry.config.labels.items()
                },
            }
            for name, entry in self._catalog.visible.items()
        ]
        return json_response({"models": models}, indent=1)

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        """Answer `GET .../metadata` with the signatures, in the JSON form of a SignatureDefMap."""
        servable = self._predictor.servable(model_spec(request))
        signatures = {
            name: {
                "inputs": {a: _tensor_info(spec) for a, spec in signature.inputs.items()},
                "outputs": {a: _tensor_info(spec) for a, spec in signature.outputs.items()},
                "method_name": signature.method_name,
                "defaults": {a: _default(array) for a, array in signature.defaults.items()},
            }
            for name, signature in servable.signatures.items()
        }
        answered = {
            "name": servable.name,
            "signature_name": "",
            "version": str(servable.version),
        }
        metadata = {"signature_def": {"signature_def": signatures}}
        return json_response({"model_spec": answered, "metadata": metadata}, indent=1)

    async def nameless(self, _request: HttpRequest) -> HttpResponse:
        """Refuse a path that names a version, a label or metadata, and no model."""
        msg = "Missing model name in request."
        raise InvalidInput(msg)


def _status(status: VersionStatus) -> dict[str, Any]:
    """A version's state as JSON; 64-bit numbers are strings, as in protobuf's JSON form."""
    return {
        "version": str(status.version),
        "state": status.state.name,
        "status": {
            "error_code": status.error_code.name,
            "error_message": status.error_message,
        },
    }


def _no_signature(servable: Servable, name: str) -> InvalidInput:
    """Return the error for an unknown signature; its message and code differ from gRPC's."""
    available = ", ".join(sorted(servable.signatures))
    return InvalidInput(
        f'Serving signature name: "{name or DEFAULT_SIGNATURE_NAME}" not found in signature def. '
        f"Signatures of {servable}: {available}"
    )


def _default(array: np.ndarray) -> dict[str, Any]:
    proto = TensorProto()
    tensor_proto.encode(array, proto)
    fields: dict[str, Any] = MessageToDict(
        proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    shape = {
        "dim": [{"size": str(size), "name": ""} for size in spec.shape or ()],
        "unknown_rank": spec.shape is None,
    }
    return {"dtype": spec.dtype.name, "tensor_shape": shape, "name": spec.graph_name}
