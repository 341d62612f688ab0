"""TensorFlow Serving's REST API for tf.Examples: Classify and Regress.

    POST /v1/models/NAME[/versions/N|/labels/L]:classify
    POST /v1/models/NAME[/versions/N|/labels/L]:regress

Paths are in `model_paths`, bodies in `json_examples`; HTTP codes are the same as for Predict.
"""

from serving.access.roles import Role
from serving.inference.classify_regress import ClassifyRegress
from serving.inference.predictor import Predictor
from serving.inference.request import ModelSpec
from serving.monitoring.counts import REST, Metrics
from serving.protocols.json_process import ELEMENT_BYTES, JsonProcesses
from serving.protocols.tfs import json_examples
from serving.protocols.tfs.json_text import jobs
from serving.protocols.tfs.model_paths import model_route, model_spec
from serving.protocols.time_limit import time_limit
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from serving.transport.route_table import HttpRequest, HttpResponse, Route


class ClassifyRoutes:
    """Handlers of Classify and Regress."""

    def __init__(
        self,
        inference: ClassifyRegress,
        predictor: Predictor,
        metrics: Metrics,
        json: JsonProcesses,
        *,
        timeout_in_ms: int = 30_000,
        tfs_format: bool = False,
    ) -> None:
        """Bind the handlers.

        Args:
            inference: Runs the requests.
            predictor: Finds the servable, whose feature specs are needed to read a request.
            metrics: Counts requests and their examples.
            json: Child processes that read and write large bodies.
            timeout_in_ms: Time limit of a call in milliseconds, from the last byte of its request
                on (`--rest_api_timeout_in_ms`).
            tfs_format: Whether answers have TensorFlow Serving's layout
                (`--rest_api_tfs_format`).
        """
        self._inference = inference
        self._predictor = predictor
        self._metrics = metrics
        self._json = json
        self._timeout_in_ms = timeout_in_ms
        self._tfs_format = tfs_format

    def routes(self) -> list[Route]:
        """Return the rows of the route table."""
        return [
            Route("POST", model_route(":classify"), self.classify, role=Role.PREDICT),
            Route("POST", model_route(":regress"), self.regress, role=Role.PREDICT),
        ]

    async def classify(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST ...:classify` with label and score of every class, for each example."""
        spec = model_spec(request)
        asked = (spec.version, spec.version_label)
        with self._metrics.request(spec.name, "Classify", REST, *asked) as outcome:
            async with time_limit(self._timeout_in_ms) as deadline:
                spec, examples = await self._read(request, spec, "classify")
                answer = await self._inference.classify(
                    spec, examples, deadline=deadline, account=request.hold
                )
                size = 2 * ELEMENT_BYTES * sum(map(len, answer.scores))
                body = await self._json.run_for(
                    request,
                    size,
                    json_examples.encode_classes,
                    answer.labels,
                    answer.scores,
                    tfs_format=self._tfs_format,
                )
            outcome.answered(answer.servable, answer.signature_name, examples=len(examples))
        return HttpResponse(body=body)

    async def regress(self, request: HttpRequest) -> HttpResponse:
        """Answer `POST ...:regress` with a number for each example."""
        spec = model_spec(request)
        asked = (spec.version, spec.version_label)
        with self._metrics.request(spec.name, "Regress", REST, *asked) as outcome:
            async with time_limit(self._timeout_in_ms) as deadline:
                spec, examples = await self._read(request, spec, "regress")
                answer = await self._inference.regress(
                    spec, examples, deadline=deadline, account=request.hold
                )
                size = ELEMENT_BYTES * len(answer.values)
                body = await self._json.run_for(
                    request,
                    size,
                    json_examples.encode_values,
                    answer.values,
                    tfs_format=self._tfs_format,
                )
            outcome.answered(answer.servable, answer.signature_name, examples=len(examples))
        return HttpResponse(body=body)

    async def _read(
        self, request: HttpRequest, spec: ModelSpec, method: str
    ) -> tuple[ModelSpec, list[bytes]]:
        """Read a request: its model and signature, and its examples as serialized tf.Examples.

        Raises:
            ServingError: the body is not JSON, the model is not served, or an example cannot be
                decoded.
        """
        signatures = self._predictor.servable(spec).signatures
        features = {name: signature.feature_spec for name, signature in signatures.items()}
        name, examples = await jobs.read(
            self._json, request, json_examples.read, features, DEFAULT_SIGNATURE_NAME, method
        )
        return spec._replace(signature_name=name), examples
