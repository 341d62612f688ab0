"""Notices: warnings about settings that have less effect, or leave more open, than expected."""

import logging
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

from serving.transport import channel_arguments
from serving.transport.network_config import is_loopback

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

logger = logging.getLogger(__name__)

# Flags that `--platform_config_file` overrides, as in TensorFlow Serving.
_OF_THE_PLATFORM = {
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "num_request_iterations_for_warmup",
    "per_process_gpu_memory_fraction",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_session_parallelism",
}
_HEEDED_ARGUMENTS = {channel_arguments.MAX_RECEIVE_BYTES, channel_arguments.MAX_IDLE_MS}


def notices_of(config: "ServerConfig") -> Iterator[str]:
    """Yield a notice for each setting that has less effect here than in TensorFlow Serving."""
    if config.port == 0 and config.grpc_socket_path is not None:
        yield (
            "--port=0 picks a free port here, whereas TensorFlow Serving opens none; "
            "--host=127.0.0.1 makes the port unreachable from other machines"
        )
    if config.platform_config_file is not None:
        for setting in fields(config):
            if (
                setting.name in _OF_THE_PLATFORM
                and getattr(config, setting.name) != setting.default
            ):
                yield f"--{setting.name} has no effect beside --platform_config_file"
    if config.front == "asgi":
        for key in channel_arguments.parse(config.grpc_channel_arguments):
            if key not in _HEEDED_ARGUMENTS:
                yield (
                    f"--grpc_channel_arguments: {key} has no effect here, because the default "
                    "front is not the gRPC library; --front=grpcio passes it to that library"
                )


def exposure(config: "ServerConfig") -> Iterator[str]:
    """Yield a notice if other machines reach the server, and nothing restricts what they may do.

    Raises:
        ConfigError: an `ssl_config_file` cannot be read or parsed.
    """
    is_restricted = config.api_keys_file or config.admin_address or not config.enable_reload_rpc
    if is_restricted or is_loopback(config.host):
        return
    certificates, _ = config.tls()
    if certificates is None or not certificates.client_ca:
        yield (
            f"everyone who can reach {config.host}:{config.port} may run every model, read "
            "metadata and metrics, and replace all models by HandleReloadConfigRequest; restrict "
            "that by --api_keys_file, --admin_address, --enable_reload_rpc=false, client "
            "certificates or --host=127.0.0.1 (docs/security.md)"
        )


@cache
def warn_once(message: str) -> None:
    """Log a warning once in each process, although settings files are read several times."""
    logger.warning(message)


def mute() -> None:
    """Log no notices in this process, because another worker logs the same ones."""
    logger.disabled = True
