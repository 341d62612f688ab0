"""The server: models, services and the web server put together, started and stopped."""

import asyncio
import logging
from functools import partial

import h2corn

from serving.config import ConfigError, ServerConfig
from serving.front_asgi import GrpcApplication
from serving.health import SERVICE as HEALTH_SERVICE
from serving.health import Health
from serving.http import HttpApplication
from serving.manager import Manager
from serving.model_config import find_models
from serving.predictor import Predictor
from serving.reflection import Reflection
from serving.rpc import method_table
from serving.rpc_tfs import MODEL_SERVICE, PREDICTION_SERVICE, TensorFlowServing
from serving.runtime import choose_providers
from serving.servable import Servable

logger = logging.getLogger(__name__)

# Room for a message's own framing over --max_message_bytes: the limit that callers are told of is
# checked by the application, which answers with a gRPC status; this one only guards the web server.
_BODY_MARGIN_BYTES = 1 << 20
_STALL_SECONDS = 60.0


class ModelServer:
    """A model server in this process's event loop.

    Attributes:
        config: Its settings.
        manager: Its models.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Put the parts together; nothing is bound or loaded yet.

        Raises:
            ConfigError: the models folder cannot be read or holds no model.
            DeviceError: the device asked for does not exist here.
        """
        self.config = config
        runtime = config.runtime()
        providers, reason = choose_providers(config.device)
        logger.info(
            "execution provider %s (%s), %d instances x %d threads a model",
            providers[0],
            reason,
            runtime.instances,
            runtime.intra_op_threads,
        )
        self.manager = Manager(
            partial(find_models, config.models_dir),
            partial(Servable.load, config=runtime, batching=config.batching()),
            config.manager(),
        )
        self.manager.on_change = self._models_changed
        self._require_models()
        self._health = Health()
        predictor = Predictor(self.manager)
        tensorflow_serving = TensorFlowServing(
            predictor,
            self.manager,
            answer_as_tensor_content=config.enable_serialization_as_tensor_content,
        )
        reflection = Reflection([PREDICTION_SERVICE, MODEL_SERVICE, HEALTH_SERVICE])
        application = GrpcApplication(
            method_table(
                [*tensorflow_serving.methods(), *self._health.methods(), *reflection.methods()]
            ),
            HttpApplication([], max_body_bytes=config.max_message_bytes),
            max_message_bytes=config.max_message_bytes,
        )
        self._web_server = h2corn.Server(application, _web_config(config))
        self._serving: asyncio.Task[None] | None = None
        self._ready = False

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return int(self._web_server.addresses[0].rpartition(":")[2])

    async def start(self) -> None:
        """Listen, then load and warm up the models; health is NOT_SERVING until that is done.

        Raises:
            ConfigError: the port cannot be bound.
            DeviceError: CUDA was insisted on and a model did not get it.
        """
        self._serving = asyncio.create_task(self._web_server.serve())
        try:
            await self._web_server.wait_started()
        except OSError as error:
            address = f"{self.config.host}:{self.config.port}"
            msg = (
                f"cannot listen on {address}: {error.strerror or error}; "
                "choose another --port (0 picks a free one) or --host"
            )
            raise ConfigError(msg) from error
        logger.info("listening on %s:%d, loading models", self.config.host, self.port)
        await self.manager.start()
        self._ready = True
        self._models_changed()
        available = [name for name, ready in self.manager.availability.items() if ready]
        logger.info("ready: %s", ", ".join(available) or "no model")

    def _require_models(self) -> None:
        """Refuse to start on a folder that is surely not meant.

        Raises:
            ConfigError: the models folder cannot be read or holds no model.
        """
        try:
            models = find_models(self.config.models_dir)
        except OSError as error:
            raise ConfigError(str(error)) from error
        if not models:
            msg = (
                f"no model found in {self.config.models_dir.resolve()}; expected "
                "<name>/<version>/model.onnx in it, or another --models_dir"
            )
            raise ConfigError(msg)

    def _models_changed(self) -> None:
        if self._ready:
            # TensorFlow Serving registers the unqualified names of its services.
            services = ("", PREDICTION_SERVICE, MODEL_SERVICE, "PredictionService", "ModelService")
            self._health.set_states(dict.fromkeys(services, True) | self.manager.availability)

    async def stop(self) -> None:
        """Refuse new work, let the calls in flight finish within `drain_seconds`, unload."""
        self._ready = False
        self._health.shut_down()
        self._web_server.shutdown()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        await self.manager.close()


def _web_config(config: ServerConfig) -> h2corn.Config:
    ports = [config.port, config.rest_api_port] if config.rest_api_port else [config.port]
    return h2corn.Config(
        # Either port answers both protocols; two of them because clients expect two.
        bind=tuple(f"{config.host}:{port}" for port in ports),
        grpc=True,
        access_log=False,  # a line a call costs more than a small model
        lifespan="off",
        # One thread does all HTTP/2 work; a second one would only take a core from the models.
        runtime_threads=1,
        loop="uvloop",
        server_header="off",
        # gRPC clients keep one connection for all calls: they want more streams than a browser.
        max_concurrent_streams=1024,
        timeout_keep_alive=0,  # idle gRPC connections stay open, as with grpc's own servers
        timeout_graceful_shutdown=config.drain_seconds,
        request_policies=(
            h2corn.RequestPolicy(
                path="/*",
                max_request_body_size=config.max_message_bytes + _BODY_MARGIN_BYTES,
                timeout_request_body_idle=_STALL_SECONDS,
                h2_timeout_response_stall=_STALL_SECONDS,
            ),
        ),
    )
