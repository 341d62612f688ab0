"""The Open Inference Protocol (KServe v2) free of any transport: what gRPC and REST share.

Written against the Open Inference Protocol (specification/protocol/inference_grpc.md and
inference_rest.md). Beyond it, the request parameter `signature_name` picks another signature of the
model than `serving_default`, which is the one that metadata describes; and metadata has parameters.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from serving.engine.catalog import Catalog, State
from serving.errors import FailedPrecondition, InvalidInput, Unavailable, Unsupported
from serving.inference.predictor import Predictor
from serving.inference.request import Decode, ModelSpec, Prediction, WireTensor
from serving.monitoring.counts import GRPC, Metrics
from serving.protocols.kserve import tensor_bytes
from serving.tensors.admission import Account
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, TensorSpec

EXTENSIONS = ("binary_tensor_data",)
SIGNATURE_NAME = "signature_name"
API = "ModelInfer"  # what the metrics call inferences, on gRPC and REST alike
# Triton's parameters that ask for another answer than the tensor itself, or for data from another
# place than the request: ignoring them would give wrong answers.
_UNSUPPORTED_PARAMETERS = ("classification", "shared_memory_region")
_MAX_VERSION_DIGITS = 19  # versions are 64-bit numbers


class TensorMetadata(NamedTuple):
    """An input or output: its name, datatype, and shape with -1 where any size goes.

    The protocol has no form for an unknown rank. Such a tensor gets the empty shape of a scalar,
    and the model's parameter `unknown_rank` names it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(NamedTuple):
    """A model: its name, the versions that can be asked for, and what it takes and gives.

    Attributes:
        platform: What runs it: `onnxruntime_onnx` or `tensorflow`.
        parameters: How this version is run; `execution_provider` as ONNX Runtime names it, and the
            `precision` of its graph; whether requests are `batched`, and in `row_independence` the
            evidence for that. If any, `unknown_rank` names the inputs and outputs whose rank is
            unknown, joined by commas.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class KServeOperations:
    """The operations of the protocol."""

    def __init__(
        self,
        predictor: Predictor,
        catalog: Catalog,
        *,
        is_ready: Callable[[], bool],
        metrics: Metrics | None = None,
    ) -> None:
        """Bind the operations.

        Args:
            predictor: Runs inferences.
            catalog: Knows the versions.
            is_ready: Whether the server is ready: started, and not about to stop.
            metrics: Counts inferences; None: nobody does.
        """
        self._predictor = predictor
        self._catalog = catalog
        self._is_ready = is_ready
        self._metrics = metrics or Metrics(catalog)

    def check_server_ready(self) -> None:
        """Return if requests are welcome.

        Raises:
            Unavailable: the models are still being loaded, or the server is about to stop.
        """
        if not self._is_ready():
            msg = "the server is not ready: it is loading its models, or about to stop"
            raise Unavailable(msg)

    def failed_models(self) -> list[str]:
        """Names of the models that could not be loaded; the server may be ready all the same."""
        return self._catalog.failed

    def check_model_ready(self, name: str, version: str) -> None:
        """Return if a version of a model, or any if it is empty, can answer.

        Raises:
            InvalidInput: the version is no number, or the name is empty.
            NotFound: no such model or version is served.
            Unavailable: it is being loaded, or see `check_server_ready`.
        """
        self.check_server_ready()
        self._predictor.servable(ModelSpec(name=name, version=_version_number(version)))

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """What a version of a model takes and gives; the latest one if `version` is empty.

        Raises:
            FailedPrecondition: it has no `serving_default` signature.
            InvalidInput, NotFound, Unavailable: see `check_model_ready`.
        """
        servable = self._predictor.servable(ModelSpec(name=name, version=_version_number(version)))
        signature = servable.signatures.get(DEFAULT_SIGNATURE_NAME)
        if signature is None:
            msg = (
                f"{servable} has no signature {DEFAULT_SIGNATURE_NAME}, which is the one that this "
                f"protocol describes; it has {', '.join(sorted(servable.signatures))}, which "
                "GetModelMetadata of tensorflow.serving.PredictionService describes"
            )
            raise FailedPrecondition(msg)
        parameters = {
            "execution_provider": servable.provider,
            "precision": servable.precision,
            "batched": "true" if servable.batched[DEFAULT_SIGNATURE_NAME] else "false",
            "row_independence": servable.verdicts[DEFAULT_SIGNATURE_NAME].evidence,
        }
        tensors = [*signature.inputs.items(), *signature.outputs.items()]
        unknown = [alias for alias, spec in tensors if spec.shape is None]
        if unknown:
            parameters["unknown_rank"] = ",".join(unknown)
        return ModelMetadata(
            name=name,
            versions=[
                str(status.version)
                for status in reversed(self._catalog.statuses(name))
                if status.state is State.AVAILABLE
            ],
            platform=servable.platform,
            inputs=_describe(signature.inputs),
            outputs=_describe(signature.outputs),
            parameters=parameters,
        )

    async def infer(
        self,
        name: str,
        version: str,
        parameters: Mapping[str, object],
        tensors: Iterable[tuple[str, WireTensor]],
        decode: Decode[WireTensor],
        *,
        outputs: Sequence[str],
        deadline: float | None = None,
        account: Account | None = None,
        entrypoint: str = GRPC,
    ) -> Prediction:
        """Run a model.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.
            parameters: Of the request. `signature_name` is heeded, others are not.
            tensors: Tensors as they arrived, with their names.
            decode: Turns one of them into an array, once it is admitted.
            outputs: Names of the outputs asked for; empty for all.
            deadline: `time.monotonic()` after which nobody waits for the answer; None for never.
            account: Counts the decoded bytes; None: nobody does.
            entrypoint: `GRPC` or `REST`, for the metrics.

        Raises:
            InvalidInput: the version is no number, `signature_name` no text, an input given twice.
            ServingError: see `Predictor.predict`.
        """
        with self._metrics.request(name, API, entrypoint) as outcome:
            signature_name = parameters.get(SIGNATURE_NAME, "")
            if not isinstance(signature_name, str):
                msg = f"parameter {SIGNATURE_NAME} is {signature_name!r}, expected a string"
                raise InvalidInput(msg)
            inputs: dict[str, WireTensor] = {}
            for alias, tensor in tensors:
                if alias in inputs:
                    msg = f'input "{alias}" is given twice'
                    raise InvalidInput(msg)
                inputs[alias] = tensor
            number = _version_number(version)
            prediction = await self._predictor.predict(
                ModelSpec(name=name, version=number, signature_name=signature_name),
                inputs,
                decode,
                output_filter=outputs,
                deadline=deadline,
                account=account,
            )
            outcome.answered(prediction.servable, prediction.signature_name)
        return prediction


def check_tensor_parameters(tensor: str, parameters: Container[str]) -> None:
    """Refuse parameters that change a tensor's meaning and are not supported here.

    Args:
        tensor: `input "x"` or `output "y"`, for the message.
        parameters: Their names.

    Raises:
        Unsupported: one of them is Triton's classification or shared memory extension.
    """
    for parameter in _UNSUPPORTED_PARAMETERS:
        if parameter in parameters:
            msg = (
                f"{tensor} has the parameter {parameter}, which this server does not support; "
                "send and receive plain tensors instead"
            )
            raise Unsupported(msg)


def _version_number(version: str) -> int | None:
    if not version:
        return None
    if version.isascii() and version.isdigit() and len(version) <= _MAX_VERSION_DIGITS:
        return int(version)
    msg = f"model version is {version!r}, expected a number, or nothing for the latest"
    raise InvalidInput(msg)


def _describe(specs: Mapping[str, TensorSpec]) -> list[TensorMetadata]:
    return [
        TensorMetadata(alias, tensor_bytes.datatype_of(spec.dtype), spec.shape or ())
        for alias, spec in specs.items()
    ]
