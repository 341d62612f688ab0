"""Wraps the handlers of RPC methods so that their calls are counted."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from serving.errors import ServingError
from serving.monitoring.counts import GRPC, Answers, Metrics
from serving.protos.tensorflow_serving_pb2 import ModelSpec
from serving.transport.method_table import Call, Method, Response, UnaryMethod

# Size of each method's cache of counters. A full cache is cleared, so that the entries of unloaded
# versions do not accumulate.
_MAX_KEPT = 256


_Key = tuple[str, int, str]  # model, version, signature


@dataclass(frozen=True, kw_only=True)
class _Api:
    """Functions that read the messages of an API that runs a model.

    Attributes:
        asked: Returns the model spec of a request; None if the request has none.
        answered: Returns the model, version and signature that a response names.
        examples: Returns the number of examples in a response; None if the API does not count
            examples.
    """

    asked: Callable[[Any], Any] = lambda request: request.model_spec
    answered: Callable[[Any], _Key] = lambda response: _key_of(response.model_spec)
    examples: Callable[[Any], int] | None = None


_APIS = {
    "Predict": _Api(
        answered=lambda response: (response.model, response.version, response.signature_name)
    ),
    "Classify": _Api(examples=lambda response: len(response.result.classifications)),
    "Regress": _Api(examples=lambda response: len(response.result.regressions)),
    # A call counts once, under the signature of its first task: all tasks are for one model.
    "MultiInference": _Api(
        asked=lambda request: request.tasks[0].model_spec if request.tasks else None,
        answered=lambda response: _key_of(response.results[0].model_spec),
    ),
}


def metered(methods: Iterable[Method], metrics: Metrics) -> list[Method]:
    """Return the methods, with those that run a model wrapped so that their calls are counted.

    Args:
        methods: Any methods. Those of TensorFlow Serving's PredictionService that run a model are
            recognized by their names; all others are returned unchanged.
        metrics: Holds the counts.
    """
    return [
        _metered(method, metrics)
        if isinstance(method, UnaryMethod) and _name(method) in _APIS
        else method
        for method in methods
    ]


def _key_of(spec: ModelSpec) -> _Key:
    return spec.name, spec.version.value, spec.signature_name


def _name(method: Method) -> str:
    return method.path.rpartition("/")[2]


def _metered(method: UnaryMethod[Any], metrics: Metrics) -> Method:
    name, handler = _name(method), method.handler
    api = _APIS[name]
    answered, examples = api.answered, api.examples
    kept: dict[_Key, Answers] = {}
    changes_seen = 0

    async def handle(request: Any, call: Call) -> Response:  # noqa: ANN401 - any message
        nonlocal changes_seen
        metrics.in_flight += 1
        started = time.perf_counter()
        try:
            response = await handler(request, call)
        except BaseException as error:
            spec = api.asked(request)
            metrics.count_failure(spec.name if spec else "", name, GRPC, error)
            if spec:
                version = spec.version.value if spec.HasField("version") else None
                seconds = time.perf_counter() - started
                label = spec.version_label or None
                metrics.count_failed_version(spec.name, version, label, error, seconds)
            raise
        finally:
            metrics.in_flight -= 1
        seconds = time.perf_counter() - started
        if changes_seen != metrics.changes:
            # A version may have been removed and added again; its series are new then.
            changes_seen = metrics.changes
            kept.clear()
        key = answered(response)
        answers = kept.get(key) or _look_up(key)
        if answers:
            answers.count(seconds, examples(response) if examples else 0)
        return response

    def _look_up(key: _Key) -> Answers | None:
        model_name, version, signature_name = key
        try:
            servable = metrics.catalog.servable(model_name, version)
        except ServingError:
            return None  # the version was unloaded meanwhile, and the page has dropped its series
        answers = metrics.answers(servable, signature_name, name, GRPC)
        if answers:
            if len(kept) >= _MAX_KEPT:
                kept.clear()
            kept[key] = answers
        return answers

    return replace(method, handler=handle)
