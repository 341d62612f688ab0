"""The operations of the Open Inference Protocol (KServe v2), which gRPC and REST share.

Follows the Open Inference Protocol (specification/protocol/inference_grpc.md and
inference_rest.md), with two additions: the request parameter `signature_name` selects another
signature than `serving_default`, which is the signature that the metadata describes; and the
metadata has parameters.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from serving.engine.catalog import Catalog, State
from serving.engine.servable import Servable
from serving.errors import FailedPrecondition, InvalidInput, NotFound, Unavailable, Unsupported
from serving.inference.predictor import Predictor
from serving.inference.request import Decode, ModelSpec, Prediction, WireTensor
from serving.monitoring import identity
from serving.monitoring.counts import GRPC, Metrics
from serving.protocols.kserve import classification, tensor_bytes
from serving.protocols.message_templates import TemplatedRequest
from serving.tensors.admission import Account
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, TensorSpec

EXTENSIONS = ("binary_tensor_data", "classification")
SIGNATURE_NAME = "signature_name"
API = "ModelInfer"  # the name of inferences in the metrics, over gRPC and over REST
# Triton's parameters whose neglect would give wrong answers: of tensors, data from outside of the
# request; of requests, the state that an earlier request has left.
_OF_TENSORS = ("shared_memory_region",)
_OF_REQUESTS = ("sequence_id", "sequence_start", "sequence_end")
_MAX_VERSION_DIGITS = 19  # versions are 64-bit numbers


class TensorMetadata(NamedTuple):
    """The metadata of an input or output.

    The protocol has no form for an unknown rank. Such a tensor has the empty shape of a scalar, and
    the model's parameter `unknown_rank` has its name.

    Attributes:
        name: Alias of the tensor.
        datatype: The protocol's name of the element type.
        shape: Sizes, -1 for any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(NamedTuple):
    """The metadata of a model: one version's inputs and outputs, and all available versions.

    Attributes:
        name: Name of the model.
        versions: Numbers of the available versions.
        platform: The runtime of the version: `onnxruntime_onnx` or `tensorflow`.
        inputs: Inputs of the signature `serving_default`.
        outputs: Outputs of the signature `serving_default`.
        parameters: How the server runs the version: `execution_provider`, in ONNX Runtime's words;
            `precision` of the graph; `batched`, whether requests share runs; `row_independence`,
            the evidence for that. If inputs or outputs have an unknown rank, `unknown_rank` has
            their names, joined by commas.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class KServeOperations:
    """The operations of the protocol.

    Attributes:
        server_name: Name of the server in its metadata.
        extensions: Names of the extensions in the server's metadata.
    """

    def __init__(
        self,
        predictor: Predictor,
        catalog: Catalog,
        *,
        is_ready: Callable[[], bool],
        metrics: Metrics | None = None,
        server_name: str = identity.NAME,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        """Bind the operations.

        Args:
            predictor: Runs inferences.
            catalog: Has the states of the versions.
            is_ready: Returns whether the server is ready: started, and not about to stop.
            metrics: Counts inferences; None counts them in an instance that nothing reads.
            server_name: Name of the server in its metadata.
            extensions: Names of the extensions in the server's metadata.
        """
        self._predictor = predictor
        self._catalog = catalog
        self._is_ready = is_ready
        self.server_name = server_name
        self.extensions = extensions
        self._metrics = metrics or Metrics(catalog)

    def check_server_ready(self) -> None:
        """Raise an error if the server is not ready for requests.

        Raises:
            Unavailable: the models are still being loaded, or the server is about to stop.
        """
        if not self._is_ready():
            msg = "the server is not ready: it is loading its models, or about to stop"
            raise Unavailable(msg)

    def failed_models(self) -> list[str]:
        """Return the names of the models that failed to load; the server may still be ready."""
        return self._catalog.failed

    def servable(self, name: str, version: str) -> Servable:
        """Return the servable that answers requests to a model.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.

        Raises:
            InvalidInput: the version is not a number, or the name is empty.
            NotFound: the server does not serve such a model or version.
            Unavailable: the version is not loaded.
        """
        try:
            return self._predictor.servable(ModelSpec(name=name, version=version_number(version)))
        except NotFound as error:
            raise _unknown(name, version, error) from error

    def described(self, name: str, version: str) -> Servable:
        """Return the servable that the protocol describes: one with a signature `serving_default`.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.

        Raises:
            FailedPrecondition: the version has no such signature.
            InvalidInput, NotFound, Unavailable: see `servable`.
        """
        servable = self.servable(name, version)
        if DEFAULT_SIGNATURE_NAME not in servable.signatures:
            msg = (
                f"{servable} has no signature {DEFAULT_SIGNATURE_NAME}, the only one that this "
                f"protocol describes; its signatures are {', '.join(sorted(servable.signatures))}: "
                "call GetModelMetadata of tensorflow.serving.PredictionService"
            )
            raise FailedPrecondition(msg)
        return servable

    def check_model_ready(self, name: str, version: str) -> None:
        """Raise an error if a version of a model cannot answer requests.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.

        Raises:
            InvalidInput: the version is not a number, or the name is empty.
            NotFound: the server does not serve such a model or version.
            Unavailable: the version is not loaded, or see `check_server_ready`.
        """
        self.check_server_ready()
        self.servable(name, version)

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """Return the metadata of a model.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.

        Raises:
            FailedPrecondition: the version has no signature `serving_default`.
            InvalidInput, NotFound, Unavailable: see `check_model_ready`.
        """
        servable = self.described(name, version)
        signature = servable.signatures[DEFAULT_SIGNATURE_NAME]
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
        classes: Mapping[str, int] = MappingProxyType({}),
        deadline: float | None = None,
        account: Account | None = None,
        entrypoint: str = GRPC,
    ) -> Prediction:
        """Run a model.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.
            parameters: The request's parameters. Only `signature_name` has an effect; those of a
                sequence are refused.
            tensors: Names and tensors in the transport's form.
            decode: Converts a tensor to an array; asks for admission first.
            outputs: Names of the requested outputs; empty for all.
            classes: For outputs that are answered with their best classes, the number of these.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.
            account: Counts the decoded bytes; None disables counting.
            entrypoint: `GRPC` or `REST`, for the metrics.

        Raises:
            InvalidInput: the version is not a number, `signature_name` is not a string, or the
                request has an input twice.
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
            if parameters:
                _check_parameters(parameters)
            outcome.version = number = version_number(version)
            try:
                prediction = await self._predictor.predict(
                    ModelSpec(name=name, version=number, signature_name=signature_name),
                    inputs,
                    decode,
                    output_filter=outputs,
                    deadline=deadline,
                    account=account,
                )
            except NotFound as error:
                raise _unknown(name, version, error) from error
            if classes:
                prediction = classification.classified(prediction, classes)
            outcome.answered(prediction.servable, prediction.signature_name)
        return prediction

    async def infer_templated(
        self, request: TemplatedRequest, version: str, deadline: float | None
    ) -> Prediction:
        """Run a model for a gRPC request that a template has read, which has no parameters.

        Args:
            request: The request.
            version: Version number in decimal, as the request has it; empty for the latest.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.

        Raises:
            ServingError: see `Predictor.predict`.
        """
        spec = request.template.spec
        with self._metrics.request(spec.name, API, GRPC, spec.version) as outcome:
            try:
                servable, signature_name, answer = request.begin(self._predictor, deadline)
            except NotFound as error:
                raise _unknown(spec.name, version, error) from error
            outputs = await answer
            outcome.answered(servable, signature_name)
        return Prediction(servable, signature_name, outputs)


def check_tensor_parameters(tensor: str, parameters: Container[str]) -> None:
    """Refuse unsupported parameters that change a tensor's meaning.

    Args:
        tensor: `input "x"` or `output "y"`, for the error message.
        parameters: Names of the tensor's parameters.

    Raises:
        Unsupported: a parameter belongs to Triton's shared memory extension.
    """
    for parameter in _OF_TENSORS:
        if parameter in parameters:
            msg = (
                f"{tensor} has the parameter {parameter}, which this server does not support; "
                "send and receive plain tensors instead"
            )
            raise Unsupported(msg)


def _check_parameters(parameters: Mapping[str, object]) -> None:
    """Refuse parameters that make a request a part of a sequence.

    Raises:
        Unsupported: a parameter belongs to Triton's sequence extension.
    """
    for parameter in _OF_REQUESTS:
        if parameters.get(parameter):
            msg = (
                f"the request has the parameter {parameter}, which this server does not support: "
                "it keeps no state between requests; send the state as a tensor"
            )
            raise Unsupported(msg)


def version_number(version: str) -> int | None:
    """Return the number of a version; None for the latest.

    Args:
        version: Version number in decimal; empty for the latest.

    Raises:
        InvalidInput: it is not a number; the message begins like Triton's.
    """
    if not version:
        return None
    if version.isascii() and version.isdigit() and len(version) <= _MAX_VERSION_DIGITS:
        return int(version)
    msg = (
        f"failed to get model version from specified version string '{version}', expected a "
        "number, or nothing for the latest"
    )
    raise InvalidInput(msg)


def _unknown(name: str, version: str, error: NotFound) -> NotFound:
    """Return the error for a model that is not served; its message begins like Triton's."""
    of_version = f" version {version}" if version else ""
    msg = f"Request for unknown model: '{name}'{of_version} is not found; {error.message}"
    return NotFound(msg)


def _describe(specs: Mapping[str, TensorSpec]) -> list[TensorMetadata]:
    return [
        TensorMetadata(alias, tensor_bytes.datatype_of(spec.dtype), spec.shape or ())
        for alias, spec in specs.items()
    ]
