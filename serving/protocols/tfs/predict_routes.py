"""TensorFlow Serving's REST API: decode JSON, call the predictor or manager, encode JSON.

    POST /v1/models/NAME[/versions/N|/labels/L]:predict
    GET  /v1/models/NAME[/versions/N|/labels/L]             state of the versions
    GET  /v1/models/NAME[/versions/N|/labels/L]/metadata    signatures

Paths, bodies, messages and HTTP codes follow model_servers/http_rest_api_{handler,util}.cc. As
there, the content type of a request is not looked at.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from serving.engine.manager import Manager
from serving.engine.servable import Servable
from serving.errors import DeadlineExceeded, InvalidInput
from serving.inference.predictor import ModelSpec, Predictor
from serving.monitoring.counts import Metrics
from serving.protocols.json_process import JsonProcess
from serving.protocols.tfs import json_predict
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, TensorSpec
from serving.transport.http_application import HttpRequest, HttpResponse, Route

ENTRYPOINT = "REST"
ELEMENT_BYTES = 8  # that an element of a tensor takes in JSON, more or less
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_MAX_VERSION = 2**63 - 1


def model_route(suffix: str) -> re.Pattern[str]:
    """The paths of a model, or of a version of it, with something after them, in any case."""
    return re.compile(f"(?i:{_MODEL}{suffix})")


def model_spec(request: HttpRequest) -> ModelSpec:
    """The model that a path names.

    Raises:
        InvalidInput: the version does not fit 64 bits.
    """
    version = request.parameters["version"]
    if version is not None and int(version) > _MAX_VERSION:
        msg = f"Failed to convert version: {version} to numeric."
        raise InvalidInput(msg)
    return ModelSpec(
        name=request.parameters["name"] or "",
        version=None if version is None else int(version),
        version_label=request.parameters["label"],
    )


@asynccontextmanager
async def time_limit(timeout_in_ms: int) -> AsyncIterator[float]:
    """Cancel what runs longer than REST calls may.

    Args:
        timeout_in_ms: Milliseconds that it may take (`--rest_api_timeout_in_ms`).

    Yields:
        `time.monotonic()` after which nobody waits for the answer.

    Raises:
        DeadlineExceeded: it took longer.
    """
    seconds = timeout_in_ms / 1000
    try:
        async with asyncio.timeout(seconds):
            yield time.monotonic() + seconds
    except TimeoutError:
        msg = (
            f"Timed out after {timeout_in_ms} ms; send smaller batches or raise the server's "
            "--rest_api_timeout_in_ms"
        )
        raise DeadlineExceeded(msg) from None


class Rest:
    """Handlers of the REST API's requests."""

    def __init__(
        self,
        predictor: Predictor,
        manager: Manager,
        metrics: Metrics,
        json: JsonProcess,
        *,
        timeout_in_ms: int = 30_000,
    ) -> None:
        """Bind the handlers.

        Args:
            predictor: Runs predict.
            manager: Knows the versions.
            metrics: Counts requests.
            json: Reads and writes bodies that are large.
            timeout_in_ms: Milliseconds that a call may take from its last byte on
                (`--rest_api_timeout_in_ms`).
        """
        self._json = json
        self._predictor = predictor
        self._manager = manager
        self._metrics = metrics
        self._timeout_in_ms = timeout_in_ms

    def routes(self) -> list[Route]:
        """The rows of the route table."""
        return [
            Route("POST", model_route(":predict"), self.predict),
            Route("GET", model_route(""), self.status),
            Route("GET", model_route("/metadata"), self.metadata),
            Route("GET", re.compile(r"(?i:/v1/models(/metadata)?)"), self.nameless),
        ]

    async def predict(self, request: HttpRequest) -> HttpResponse:
        """`POST ...:predict`: run a signature on rows (`instances`) or columns (`inputs`)."""
        spec = model_spec(request)
        with self._metrics.request(spec.name, "Predict", ENTRYPOINT) as outcome:
            servable = self._predictor.servable(spec)
            async with time_limit(self._timeout_in_ms) as deadline:
                with servable.hold():  # it may be unloaded while a large body is read
                    name, arrays, rows = await self._json.run(
                        len(request.body),
                        json_predict.read_predict,
                        request.body,
                        {name: signature.inputs for name, signature in servable.signatures.items()},
                        DEFAULT_SIGNATURE_NAME,
                    )
                    if arrays is None:
                        raise _no_signature(servable, name)
                    prediction = await self._predictor.predict_on(
                        servable,
                        name or DEFAULT_SIGNATURE_NAME,
                        arrays,
                        _as_it_is,
                        deadline=deadline,
                    )
                elements = sum(array.size for array in prediction.outputs.values())
                body = await self._json.run(
                    ELEMENT_BYTES * elements,
                    json_predict.encode_outputs,
                    prediction.outputs,
                    rows=rows,
                )
            outcome.answered(prediction.servable, prediction.signature_name)
        return HttpResponse(body=body)

    async def status(self, request: HttpRequest) -> HttpResponse:
        """`GET ...`: every version known, or the one named; a label is ignored."""
        spec = model_spec(request)
        statuses = [
            {
                "version": str(status.version),
                "state": status.state.name,
                "status": {
                    "error_code": status.error_code.name,
                    "error_message": status.error_message,
                },
            }
            for status in self._manager.statuses(spec.name, spec.version)
        ]
        return _json_response({"model_version_status": statuses})

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        """`GET .../metadata`: the signatures, in the JSON form of a SignatureDefMap."""
        servable = self._predictor.servable(model_spec(request))
        signatures = {
            name: {
                "inputs": {a: _tensor_info(spec) for a, spec in signature.inputs.items()},
                "outputs": {a: _tensor_info(spec) for a, spec in signature.outputs.items()},
                "method_name": signature.method_name,
            }
            for name, signature in servable.signatures.items()
        }
        answered = {
            "name": servable.name,
            "signature_name": "",
            "version": str(servable.version),
        }
        metadata = {"signature_def": {"signature_def": signatures}}
        return _json_response({"model_spec": answered, "metadata": metadata})

    async def nameless(self, _request: HttpRequest) -> HttpResponse:
        """`GET /v1/models`: there is no list of models in this API."""
        msg = "Missing model name in request."
        raise InvalidInput(msg)


def _no_signature(servable: Servable, name: str) -> InvalidInput:
    """The error for a signature that is missing, for which REST has its own message and code."""
    available = ", ".join(sorted(servable.signatures))
    return InvalidInput(
        f'Serving signature name: "{name or DEFAULT_SIGNATURE_NAME}" not found in signature def. '
        f"Signatures of {servable}: {available}"
    )


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    shape = {
        "dim": [{"size": str(size), "name": ""} for size in spec.shape],
        "unknown_rank": False,
    }
    return {"dtype": spec.dtype.name, "tensor_shape": shape, "name": spec.graph_name}


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def _json_response(document: dict[str, Any]) -> HttpResponse:
    # Indented as TensorFlow Serving's: people read these two in a terminal.
    return HttpResponse(body=json.dumps(document, indent=1).encode() + b"\n")
