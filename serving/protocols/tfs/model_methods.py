"""TensorFlow Serving's gRPC methods about models: metadata, status, and reloading the whole set."""

import asyncio
import logging
from collections.abc import Mapping

from serving.access import audit
from serving.access.caller import ANONYMOUS, CURRENT
from serving.access.roles import Role
from serving.engine.manager import Manager
from serving.errors import InvalidInput, PermissionDenied, ServingError
from serving.inference.predictor import Predictor
from serving.monitoring.counts import Metrics
from serving.protocols.tfs import tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec, write_model_spec
from serving.protocols.tfs.predict_methods import PREDICTION_SERVICE
from serving.protos import tensorflow_pb2
from serving.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
    SignatureDefMap,
)
from serving.repository.model_config import ModelConfig
from serving.repository.model_config_message import models_of
from serving.repository.storage_uri import StorageUri
from serving.tensors.signature import Signature, TensorSpec
from serving.transport.method_table import Call, Method, UnaryMethod
from serving.uncancelled import uncancelled

MODEL_SERVICE = "tensorflow.serving.ModelService"
SIGNATURE_DEF = "signature_def"

logger = logging.getLogger(__name__)


class ModelMethods:
    """Handlers of PredictionService.GetModelMetadata and of ModelService."""

    def __init__(self, predictor: Predictor, manager: Manager, metrics: Metrics) -> None:
        """Bind the handlers.

        Args:
            predictor: Finds the version that a request names.
            manager: Reloads the set of models; its catalog has the states of the versions.
            metrics: Counts the reload requests that are refused.
        """
        self._predictor = predictor
        self._manager = manager
        self._metrics = metrics
        self._reloading: set[asyncio.Task[None]] = set()

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/GetModelMetadata",
                request_type=GetModelMetadataRequest,
                handler=self.get_model_metadata,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{MODEL_SERVICE}/GetModelStatus",
                request_type=GetModelStatusRequest,
                handler=self.get_model_status,
                role=Role.METADATA,
            ),
            UnaryMethod(
                path=f"/{MODEL_SERVICE}/HandleReloadConfigRequest",
                request_type=ReloadConfigRequest,
                handler=self.reload_config,
                role=Role.ADMIN,
            ),
        ]

    async def get_model_metadata(
        self, request: GetModelMetadataRequest, _call: Call
    ) -> GetModelMetadataResponse:
        """Answer PredictionService.GetModelMetadata with the signatures, as a SignatureDefMap."""
        spec = read_model_spec(request)
        if not request.metadata_field:
            msg = "GetModelMetadataRequest must specify at least one metadata_field"
            raise InvalidInput(msg)
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                msg = f"Metadata field {field} is not supported"
                raise InvalidInput(msg)
        servable = self._predictor.servable(spec)
        signatures = SignatureDefMap()
        for name, signature in servable.signatures.items():
            _write_signature(signature, signatures.signature_def[name])
        response = GetModelMetadataResponse()
        write_model_spec(response.model_spec, servable.name, servable.version)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    async def get_model_status(
        self, request: GetModelStatusRequest, _call: Call
    ) -> GetModelStatusResponse:
        """Answer ModelService.GetModelStatus with the state of all known versions, or of one."""
        spec = read_model_spec(request)  # a version label is ignored, as TensorFlow Serving does
        response = GetModelStatusResponse()
        for status in self._manager.catalog.statuses(spec.name, spec.version):
            entry = response.model_version_status.add()
            entry.version = status.version
            entry.state = status.state  # type: ignore[assignment]  # takes a number
            entry.status.error_code = status.error_code  # type: ignore[assignment]  # a number, too
            entry.status.error_message = status.error_message
        return response

    async def reload_config(self, request: ReloadConfigRequest, call: Call) -> ReloadConfigResponse:
        """Answer ModelService.HandleReloadConfigRequest: serve another set of models.

        The answer comes when all models of the new set are available. If one cannot be loaded, the
        server keeps the previous set unchanged, where TensorFlow Serving would switch to half of
        the new one. As in TensorFlow Serving, a refusal is the gRPC status of the call; the
        `status` field of the response is always OK.
        """
        by, peer = CURRENT.get().name, audit.peer_of(call.hold.caller if call.hold else None)
        change = "a list that cannot be read"
        before = {name: entry.config for name, entry in self._manager.catalog.models.items()}
        try:
            models = models_of(request.config)
            change = audit.difference(before, models)
            if CURRENT.get().name == ANONYMOUS:
                _require_known_stores(before, models)
            logger.info("reload requested: %s", ", ".join(models) or "no model")
            await self._reload(models)
        except ServingError as error:
            self._metrics.refused_reloads += 1
            audit.record_refusal("models", change, error.message, by=by, peer=peer)
            raise
        audit.record("models", change, by=by, peer=peer)
        response = ReloadConfigResponse()
        response.status.error_code = 0  # type: ignore[assignment]  # takes a number
        return response

    async def _reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve another set of models.

        Raises:
            ServingError: the set is refused, and the models served before stay in service.
        """
        # If the client gives up waiting, the reload goes on: it must not be left half done.
        reloading = asyncio.create_task(self._manager.reload(models))
        self._reloading.add(reloading)
        reloading.add_done_callback(self._reloading.discard)
        await uncancelled(reloading)


def _require_known_stores(
    before: Mapping[str, ModelConfig], models: Mapping[str, ModelConfig]
) -> None:
    """Refuse stores that the server does not read already.

    Anybody may call a server without keys; nobody may have it call any host and run what that
    sends.

    Raises:
        PermissionDenied: a model's base path is in another store.
    """
    known = {
        config.base_path.root
        for config in before.values()
        if isinstance(config.base_path, StorageUri)
    }
    for name, config in models.items():
        base_path = config.base_path
        if isinstance(base_path, StorageUri) and base_path.root not in known:
            msg = (
                f"model {name} has base_path {base_path}, in a store that this server does not "
                "read yet; name the store on its command line or in its --model_config_file, or "
                "let callers reload with a key (--api_keys_file)"
            )
            raise PermissionDenied(msg)


def _write_signature(signature: Signature, proto: tensorflow_pb2.SignatureDef) -> None:
    proto.method_name = signature.method_name
    for alias, spec in signature.inputs.items():
        _write_tensor_info(spec, proto.inputs[alias])
    for alias, spec in signature.outputs.items():
        _write_tensor_info(spec, proto.outputs[alias])
    for alias, array in signature.defaults.items():
        tensor_proto.encode(array, proto.defaults[alias])


def _write_tensor_info(spec: TensorSpec, proto: tensorflow_pb2.TensorInfo) -> None:
    if spec.coo_sparse is None:
        proto.name = spec.graph_name
    else:
        names = proto.coo_sparse
        names.values_tensor_name, names.indices_tensor_name, names.dense_shape_tensor_name = (
            spec.coo_sparse
        )
    proto.dtype = spec.dtype  # type: ignore[assignment]  # takes a number
    # `SetInParent` sets the shape of a scalar, too, which has no dims.
    proto.tensor_shape.SetInParent()
    proto.tensor_shape.unknown_rank = spec.shape is None
    for size in spec.shape or ():
        proto.tensor_shape.dim.add().size = size
