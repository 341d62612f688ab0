"""TensorFlow Serving's `--grpc_channel_arguments`: options of the gRPC library, by name."""

from serving.errors import ConfigError

MAX_RECEIVE_BYTES = "grpc.max_receive_message_length"
MAX_IDLE_MS = "grpc.max_connection_idle_ms"


def parse(text: str) -> dict[str, int | str]:
    """Parse `key=value,...` into a dictionary for grpcio; whole numbers become integers.

    Raises:
        ConfigError: an entry has no `=`.
    """
    arguments: dict[str, int | str] = {}
    for entry in filter(None, text.split(",")):
        key, separator, value = entry.partition("=")
        if not separator:
            msg = f"--grpc_channel_arguments has {entry!r}, expected key=value,key=value"
            raise ConfigError(msg)
        arguments[key] = int(value) if value.removeprefix("-").isdigit() else value
    return arguments
