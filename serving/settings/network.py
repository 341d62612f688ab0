"""Network settings: addresses and limits."""

from typing import TYPE_CHECKING

from serving.transport import channel_arguments
from serving.transport.limits import holders
from serving.transport.network_config import NetworkConfig, admin_address

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

_DAY = 86_400
# Largest value of gRPC's option for the size of a message, a signed 32-bit integer.
MAX_MESSAGE_BYTES = 2**31 - 1


def of(config: "ServerConfig") -> NetworkConfig:
    """Return the network settings, with those of `grpc_channel_arguments`.

    Raises:
        ConfigError: `trusted_proxies`, `admin_address` or `grpc_channel_arguments` cannot be
            parsed.
    """
    max_message_bytes = config.max_message_bytes
    idle_seconds = config.idle_connection_seconds
    if config.front == "asgi":
        arguments = channel_arguments.parse(config.grpc_channel_arguments)
        most = arguments.get(channel_arguments.MAX_RECEIVE_BYTES)
        if isinstance(most, int) and most > 0:
            max_message_bytes = max_message_bytes or min(MAX_MESSAGE_BYTES, most)
        idle_ms = arguments.get(channel_arguments.MAX_IDLE_MS)
        if isinstance(idle_ms, int) and idle_ms > 0:
            idle_seconds = min(_DAY, idle_ms / 1000)
    return NetworkConfig(
        host=config.host,
        port=config.port,
        rest_api_port=config.rest_api_port,
        health_port=config.health_port,
        admin_address=admin_address(config.admin_address),
        grpc_socket_path=config.grpc_socket_path,
        is_shared=config.workers > 1,
        grpc_channel_arguments=config.grpc_channel_arguments,
        max_message_bytes=max_message_bytes or min(MAX_MESSAGE_BYTES, config.max_buffered_bytes),
        max_buffered_bytes=config.max_buffered_bytes,
        max_connections=config.max_connections,
        idle_connection_seconds=idle_seconds,
        trusted_proxies=holders.networks(config.trusted_proxies, flag="--trusted_proxies"),
        drain_seconds=config.drain_seconds,
        log_format=config.log_format,
    )
