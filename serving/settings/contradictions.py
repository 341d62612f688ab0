"""Settings that are out of range, or that contradict each other."""

from collections.abc import Iterator
from dataclasses import field, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args

from serving.access import roles
from serving.errors import ConfigError
from serving.transport.network_config import admin_address

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

_SOURCES = ("models_dir", "model_base_path", "model_config_file")


def setting_field(
    default: Any,  # noqa: ANN401 - any setting
    text: str,
    low: float = 0,
    high: float = 1 << 62,
    *,
    negative: float | None = None,
) -> Any:  # noqa: ANN401 - any setting
    """Return the field of a setting.

    Args:
        default: The default value.
        text: Help text.
        low: Least number that `check` allows.
        high: Greatest number that `check` allows.
        negative: The value that a negative number on a command line means; None: none.
    """
    return field(
        default=default, metadata={"help": text, "low": low, "high": high, "negative": negative}
    )


def check(config: "ServerConfig") -> None:
    """Check ranges, choices and contradictions.

    Raises:
        ConfigError: a value is out of range, or two settings contradict each other.
    """
    for setting in fields(config):
        value = getattr(config, setting.name)
        choices = get_args(setting.type) if isinstance(value, str) else ()
        if choices and value not in choices:
            msg = f"--{setting.name} is {value!r}, expected one of {', '.join(choices)}"
            raise ConfigError(msg)
        low, high = setting.metadata["low"], setting.metadata["high"]
        if isinstance(value, int | float) and not low <= value <= high:
            msg = f"--{setting.name} is {value}, expected {low} to {high}"
            raise ConfigError(msg)
    for reason in find(config):
        raise ConfigError(reason)


def find(config: "ServerConfig") -> Iterator[str]:
    """Yield a sentence for each contradiction, with the flags and the way out."""
    given = [f"--{name}" for name in _SOURCES if getattr(config, name) is not None]
    if len(given) > 1:
        yield f"{' and '.join(given)} given, expected one of them"
    if config.model_name != "default" and config.model_base_path is None:
        yield "--model_name given without --model_base_path, expected both"
    if config.model_config_file_poll_wait_seconds and config.model_config_file is None:
        yield "--model_config_file_poll_wait_seconds given without --model_config_file"
    if config.require_gpu and config.device == "cpu":
        yield "--require_gpu given with --device cpu, expected one of them"
    yield from _of_model_control(config)
    yield from _of_running(config)
    yield from _of_sockets(config)
    yield from _of_access(config)


def _of_model_control(config: "ServerConfig") -> Iterator[str]:
    if config.model_control_mode == "explicit":
        yield from (
            f"--model_control_mode=explicit given with --{name}, expected --models_dir: calls name "
            "the models of a folder"
            for name in ("model_base_path", "model_config_file")
            if getattr(config, name) is not None
        )
    elif config.load_models:
        yield "--load_models given without --model_control_mode=explicit, expected both"


def _of_running(config: "ServerConfig") -> Iterator[str]:
    if config.batching_parameters_file is not None:
        if not config.enable_batching:
            yield (
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true: --batching_parameters_file given with "
                "--enable_batching=false, expected one of them"
            )
        yield from (
            f"--{setting.name} given with --batching_parameters_file, expected one of them"
            for setting in fields(config)
            if setting.name in {"max_batch_size", "batch_timeout_micros", "max_enqueued_rows"}
            and getattr(config, setting.name) != setting.default
        )
    if (
        config.tensorflow_session_parallelism
        and config.tensorflow_intra_op_parallelism
        and config.tensorflow_inter_op_parallelism
    ):
        yield (
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
        )


def _of_access(config: "ServerConfig") -> Iterator[str]:
    """Yield contradictions of the access settings.

    Raises:
        ConfigError: `open_access` or `admin_address` cannot be parsed.
    """
    roles.open_roles(config.open_access)
    address = admin_address(config.admin_address)
    if config.open_access != "health" and config.api_keys_file is None:
        yield "--open_access given without --api_keys_file, which decides who else may call"
    if address and address.path and address.path == config.grpc_socket_path:
        yield f"--admin_address and --grpc_socket_path are both {address.path}, expected two paths"


def _of_sockets(config: "ServerConfig") -> Iterator[str]:
    if (
        config.ssl_config_file is not None
        and config.grpc_socket_path is not None
        and config.front == "asgi"
    ):
        yield (
            "--grpc_socket_path given with --ssl_config_file: the default front supports no TLS on "
            "a Unix socket, and a socket without TLS would bypass the certificates; leave one out, "
            "or pass --front grpcio"
        )
    if config.rest_api_ssl_config_file is not None and not config.rest_api_port:
        yield "--rest_api_ssl_config_file given without --rest_api_port, expected both"
    if config.grpc_socket_path is not None and config.front == "grpcio" and config.workers > 1:
        yield (
            "--grpc_socket_path given with --front grpcio and --workers: grpcio cannot share a "
            "Unix socket between processes; leave one out"
        )
    ports = {
        "--port": config.port,
        "--rest_api_port": config.rest_api_port,
        "--health_port": config.health_port,
        "--admin_address": getattr(admin_address(config.admin_address), "port", 0),
    }
    yield from (
        f"{first} and {second} are both {port}, expected different ports"
        for (first, port), (second, other) in combinations(ports.items(), 2)
        if port and port == other
    )
