"""TensorFlow Serving's REST API for tf.Examples: Classify and Regress.

    POST /v1/models/NAME[/versions/N|/labels/L]:classify
    POST /v1/models/NAME[/versions/N|/labels/L]:regress

Paths, messages and HTTP codes are those of `rest`, the bodies are in `json_examples`.
"""

from collections.abc import Mapping

from serving import json_codec, json_examples
from serving.feature_spec import FeatureSpec
from serving.http import HttpRequest, HttpResponse, Route
from serving.inference import Inference
from serving.inference_checks import signature_name
from serving.metrics import Metrics
from serving.predictor import ModelSpec, Predictor
from serving.rest import ENTRYPOINT, model_route, model_spec, time_limit


class RestInference:
    """Handlers of Classify and Regress."""

    def __init__(
        self,
        inference: Inference,
        predictor: Predictor,
        metrics: Metrics,
        *,
        timeout_in_ms: int = 30_000,
    ) -> None:
        """Bind the handlers.

        Args:
            inference: Runs the calls.
            predictor: Knows the signatures.
            metrics: Counts requests and their examples.
            timeout_in_ms: Milliseconds that the model may take to answer
                (`--rest_api_timeout_in_ms`).
        """
        self._inference = inference
        self._predictor = predictor
        self._metrics = metrics
        self._timeout_in_ms = timeout_in_ms

    def routes(self) -> list[Route]:
        """The rows of the route table."""
        return [
            Route("POST", model_route(":classify"), self.classify),
            Route("POST", model_route(":regress"), self.regress),
        ]

    async def classify(self, request: HttpRequest) -> HttpResponse:
        """`POST ...:classify`: label and score of every class, for each example."""
        spec = model_spec(request)
        with self._metrics.request(spec.name, "Classify", ENTRYPOINT) as outcome:
            spec, examples = self._read(request, spec, "classify")
            async with time_limit(self._timeout_in_ms) as deadline:
                answer = await self._inference.classify(spec, examples, deadline=deadline)
            body = json_examples.encode_classes(answer.labels, answer.scores)
            outcome.answered(answer.servable, answer.signature_name, examples=len(examples))
        return HttpResponse(body=body)

    async def regress(self, request: HttpRequest) -> HttpResponse:
        """`POST ...:regress`: a number for each example."""
        spec = model_spec(request)
        with self._metrics.request(spec.name, "Regress", ENTRYPOINT) as outcome:
            spec, examples = self._read(request, spec, "regress")
            async with time_limit(self._timeout_in_ms) as deadline:
                answer = await self._inference.regress(spec, examples, deadline=deadline)
            body = json_examples.encode_values(answer.values)
            outcome.answered(answer.servable, answer.signature_name, examples=len(examples))
        return HttpResponse(body=body)

    def _read(
        self, request: HttpRequest, spec: ModelSpec, method: str
    ) -> tuple[ModelSpec, list[bytes]]:
        """Model and signature that a request is for, and its examples.

        Raises:
            ServingError: it is no JSON, names a model that is not served, or has examples that
                cannot be understood.
        """
        document = json_codec.parse(request.body, key=json_examples.EXAMPLES_KEY)
        spec = spec._replace(signature_name=json_codec.signature_name(document))
        return spec, json_examples.decode_examples(document, self._features(spec), method)

    def _features(self, spec: ModelSpec) -> Mapping[str, FeatureSpec]:
        """The signature's feature spec; none if there is no signature, which the run will tell."""
        signature = self._predictor.servable(spec).signatures.get(signature_name(spec))
        return signature.feature_spec if signature else {}
