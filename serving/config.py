"""Server settings. A flag beats the environment (`SERVING_PORT` for `--port`) beats the default."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from serving.batcher import BatchingConfig
from serving.manager import ManagerConfig
from serving.runtime import Device, RuntimeConfig, available_cores

ENVIRONMENT_PREFIX = "SERVING_"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class ConfigError(Exception):
    """A setting that the server cannot start with."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of the model server; flags carry the same names.

    Raises:
        ConfigError: a value is out of range.
    """

    models_dir: Path = field(
        default=Path("models"), metadata={"help": "folder with <name>/<version>/model.onnx"}
    )
    host: str = field(default="0.0.0.0", metadata={"help": "address to listen on"})  # noqa: S104 - a server in a container
    port: int = field(default=8500, metadata={"help": "gRPC port; 0 picks a free one"})
    rest_api_port: int = field(default=0, metadata={"help": "REST port; 0: none of its own"})
    file_system_poll_wait_seconds: float = field(
        default=1.0,
        metadata={"help": "time between two looks for new versions; 0 looks once (seconds)"},
    )
    max_num_load_retries: int = field(
        default=5, metadata={"help": "times a version that cannot be loaded is tried again"}
    )
    load_retry_interval_micros: int = field(
        default=60_000_000, metadata={"help": "time between two such tries (microseconds)"}
    )
    device: Device = field(
        default="auto", metadata={"help": "auto takes CUDA where it works, cuda insists on it"}
    )
    instances: int = field(
        default=0,
        metadata={"help": "runs at the same time per model; 0: as many as there are cores"},
    )
    intra_op_threads: int = field(
        default=0, metadata={"help": "threads inside one run; 0: cores / instances"}
    )
    enable_batching: bool = field(
        default=True, metadata={"help": "let requests that wait together run together"}
    )
    max_batch_size: int = field(default=64, metadata={"help": "most rows of one run"})
    batch_timeout_micros: int = field(
        default=0, metadata={"help": "time to wait for a batch to fill (microseconds)"}
    )
    max_enqueued_rows: int = field(
        default=10_000, metadata={"help": "rows a model may have waiting; more are refused"}
    )
    max_message_bytes: int = field(
        default=64 << 20, metadata={"help": "larger requests are refused (bytes)"}
    )
    drain_seconds: float = field(
        default=25.0, metadata={"help": "time that calls in flight get on SIGTERM (seconds)"}
    )
    enable_serialization_as_tensor_content: bool = field(
        default=False, metadata={"help": "answer in tensor_content instead of typed fields"}
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, low, high in (
            ("port", 0, 65535),
            ("rest_api_port", 0, 65535),
            ("file_system_poll_wait_seconds", 0, 86_400),
            ("max_num_load_retries", 0, 1 << 31),
            ("load_retry_interval_micros", 0, 1 << 62),
            ("instances", 0, 1024),
            ("intra_op_threads", 0, 1024),
            ("max_batch_size", 1, 1 << 20),
            ("batch_timeout_micros", 0, 60_000_000),
            ("max_enqueued_rows", 1, 1 << 30),
            ("max_message_bytes", 1, 2**31 - 1),
            ("drain_seconds", 0, 3600),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f"--{name} is {value}, expected {low} to {high}"
                raise ConfigError(msg)
        if self.device not in get_args(Device):
            msg = f"--device is {self.device!r}, expected one of {', '.join(get_args(Device))}"
            raise ConfigError(msg)

    def manager(self) -> ManagerConfig:
        """How versions are kept up to date."""
        return ManagerConfig(
            poll_seconds=self.file_system_poll_wait_seconds,
            max_load_retries=self.max_num_load_retries,
            retry_seconds=self.load_retry_interval_micros / 1e6,
        )

    def batching(self) -> BatchingConfig:
        """How requests are gathered; without batching each runs alone."""
        return BatchingConfig(
            enabled=self.enable_batching,
            max_batch_size=self.max_batch_size,
            batch_timeout_micros=self.batch_timeout_micros,
            max_enqueued_rows=self.max_enqueued_rows,
        )

    def runtime(self) -> RuntimeConfig:
        """The threads to use, from the settings and the cores this process has."""
        cores = available_cores()
        instances = self.instances or max(1, cores // (self.intra_op_threads or 1))
        threads = self.intra_op_threads or max(1, cores // instances)
        return RuntimeConfig(device=self.device, instances=instances, intra_op_threads=threads)


def parse_config(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Read the settings.

    Args:
        arguments: Command line without the program's name.
        environment: Environment variables.

    Raises:
        ConfigError: a value cannot be understood or is out of range.
        SystemExit: `--help`, or an unknown flag.
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve ONNX models over TensorFlow Serving's API.",
        epilog=f"Each flag has an environment variable: --port is {ENVIRONMENT_PREFIX}PORT.",
        allow_abbrev=False,
    )
    for setting in fields(ServerConfig):
        parser.add_argument(
            f"--{setting.name}",
            metavar=setting.name.rpartition("_")[2].upper(),
            # `--flag` alone switches a boolean on, `--flag=false` off, as with TensorFlow Serving.
            nargs="?" if setting.type is bool else None,
            const="true" if setting.type is bool else None,
            help=f"{setting.metadata['help']} (default: {setting.default})",
        )
    flags = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {}
    for setting in fields(ServerConfig):
        variable = ENVIRONMENT_PREFIX + setting.name.upper()
        if flags[setting.name] is not None:
            values[setting.name] = _convert(setting, flags[setting.name], f"--{setting.name}")
        elif variable in environment:
            values[setting.name] = _convert(setting, environment[variable], variable)
    return ServerConfig(**values)


def _convert(setting: "Field[Any]", text: str, source: str) -> Any:  # noqa: ANN401 - any setting
    try:
        if setting.type is bool:
            return _BOOLEANS[text.lower()]
        if setting.type is int:
            return int(text)
        if setting.type is float:
            return float(text)
    except (KeyError, ValueError):
        expected = "true or false" if setting.type is bool else "a number"
        msg = f"{source} is {text!r}, expected {expected}"
        raise ConfigError(msg) from None
    return Path(text) if setting.type is Path else text
