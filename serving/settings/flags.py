"""Reads the settings from the command line and the environment.

A flag (`--port`) overrides its environment variable (`SERVING_PORT`), which overrides the default.
"""

import argparse
import difflib
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import onnxruntime

from serving.errors import ConfigError, InvalidInput
from serving.repository.model_config import base_path_of, local_path
from serving.repository.version_folders import BasePath
from serving.settings import tensorflow_flags
from serving.settings.config import DEFAULT_MODELS_DIR, ServerConfig
from serving.settings.notices import notices_of
from serving.settings.tensorflow_flags import TensorFlowFlag

ENVIRONMENT_PREFIX = "SERVING_"
PROGRAM = "python -m serving"
# Name of TensorFlow Serving's program, which this server's package installs as a command too.
TENSORFLOW_PROGRAM = "tensorflow_model_server"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
# The settings that name the models. If variables set several of them, the first in this order wins:
# a container image may set the last one.
_SOURCES = ("model_config_file", "model_base_path", "models_dir")
# Flags that `--model_config_file` overrides, as in TensorFlow Serving.
_OF_ONE_MODEL = ("model_name", "model_base_path")
# The variables of TensorFlow Serving's container image, with its defaults for an unset one.
_DOCKER_NAME = ("MODEL_NAME", "model")
_DOCKER_BASE_PATH = ("MODEL_BASE_PATH", str(Path("/") / DEFAULT_MODELS_DIR))


class CommandLine(NamedTuple):
    """The result of reading a command line and the environment.

    Attributes:
        config: The settings.
        notices: Warnings, to be logged once the log is configured.
    """

    config: ServerConfig
    notices: list[str]


def parse_config(
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    program: str = PROGRAM,
) -> ServerConfig:
    """Read the settings without the notices; see `parse`."""
    return parse(arguments, environment, program).config


def parse(
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    program: str = PROGRAM,
) -> CommandLine:
    """Read the settings.

    Args:
        arguments: Command line without the program's name.
        environment: Environment variables.
        program: Name of the program, as shown by `--help`; `TENSORFLOW_PROGRAM` requires a model.

    Raises:
        ConfigError: a flag is unknown, or a value cannot be parsed, is out of range, asks for a
            feature that this server lacks, or contradicts another value.
        SystemExit: `--help` or `--version`.
    """
    flags = _read_flags(arguments, program)
    settings = _settings()
    values = {
        name: _convert(settings[name], text, f"--{name}")
        for name, text in flags.items()
        if text is not None
    }
    variables = {
        name: _convert(setting, environment[variable], variable)
        for name, setting in settings.items()
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
        # In a namespace with a Service named "serving", Kubernetes sets SERVING_PORT=tcp://... in
        # every pod.
        and not environment[variable].startswith("tcp://")
    }
    variables |= _docker_variables(environment, values, variables)
    notices = list(_notices_of_flags(variables | values))
    values, variables = _one_source(values, variables, notices)
    chosen = variables | values
    if program == TENSORFLOW_PROGRAM and not any(chosen.get(name) for name in _SOURCES):
        msg = (
            "Both server_options.model_base_path and server_options.model_config_file are empty!; "
            "expected --model_base_path, --model_config_file or --models_dir"
        )
        raise ConfigError(msg)
    _share_one_port(chosen, notices)
    _give_way_with_health(chosen, values, notices)
    config = ServerConfig(**chosen)
    notices.extend(notices_of(config))
    return CommandLine(config, notices)


def _settings() -> dict[str, "Field[Any] | TensorFlowFlag"]:
    """Return all flags by name: the settings, and TensorFlow Serving's other flags."""
    own: dict[str, Field[Any] | TensorFlowFlag] = {
        setting.name: setting for setting in fields(ServerConfig)
    }
    return own | {flag.name: flag for flag in tensorflow_flags.FLAGS}


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise an error with the message that `argparse` would print.

        Raises:
            ConfigError: always.
        """
        msg = f"{message}; `{self.prog} --help` lists all flags"
        raise ConfigError(msg)


def _read_flags(arguments: Sequence[str], program: str) -> dict[str, str | None]:
    """Return the text of each flag's value; None for a flag that is not given.

    Raises:
        ConfigError: a flag is unknown or has no value.
        SystemExit: `--help` or `--version`.
    """
    parser = _parser(program)
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _unknown_argument(unknown[0], program)
    flags: dict[str, str | None] = vars(namespace)
    asked = flags.pop("version")
    if asked is not None and _boolean(asked, "--version"):
        print(_versions(program))  # noqa: T201 - what the flag asks for
        parser.exit()
    return flags


def _unknown_argument(argument: str, program: str) -> ConfigError:
    """Return the error for an unknown flag.

    TensorFlow Serving ignores unknown flags and starts, perhaps without its model.
    """
    name = argument.lstrip("-").partition("=")[0]
    if name in tensorflow_flags.RETIRED:
        hint = f"TensorFlow Serving has dropped this flag: {tensorflow_flags.RETIRED[name]}"
    elif close := difflib.get_close_matches(name, _settings(), 1):
        hint = f"did you mean --{close[0]}?"
    else:
        hint = "expected --flag=value"
    return ConfigError(f"unknown argument: {argument}; {hint} `{program} --help` lists all flags")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Serve ONNX models and SavedModels over TensorFlow Serving's API.",
        epilog=(
            f"Each flag has an environment variable: --port is {ENVIRONMENT_PREFIX}PORT. "
            "MODEL_NAME and MODEL_BASE_PATH work as in TensorFlow Serving's container: the model "
            "is in MODEL_BASE_PATH/MODEL_NAME."
        ),
        allow_abbrev=False,
    )
    switch = {"metavar": "BOOL", "nargs": "?", "const": "true"}
    parser.add_argument("--version", help="print the versions", **switch)  # type: ignore[arg-type]
    for setting in fields(ServerConfig):
        default = "" if setting.default in {None, ""} else f" (default: {setting.default})"
        # `--flag` alone switches a boolean on, `--flag=false` off, as with TensorFlow Serving.
        value = {"metavar": setting.name.rpartition("_")[2].upper()}
        parser.add_argument(
            f"--{setting.name}",
            help=f"{setting.metadata['help']}{default}".replace("%", "%%"),
            **(switch if setting.type is bool else value),  # type: ignore[arg-type]
        )
    group = parser.add_argument_group("flags of TensorFlow Serving that set nothing here")
    for flag in tensorflow_flags.FLAGS:
        value = {"metavar": flag.name.rpartition("_")[2].upper()}
        parser_help = f"{flag.kind}: {flag.reason}".replace("%", "%%")
        chosen = switch if flag.type is bool else value
        group.add_argument(f"--{flag.name}", help=parser_help, **chosen)  # type: ignore[arg-type]
    return parser


def _versions(program: str) -> str:
    own, library = metadata.version("onnx-serving"), f"ONNX Runtime {onnxruntime.__version__}"
    rest = f"h2corn {metadata.version('h2corn')}, Python {platform.python_version()}"
    if program == TENSORFLOW_PROGRAM:
        # The format of TensorFlow Serving's output, for scripts that parse it, but without a
        # TensorFlow version.
        return (
            f"TensorFlow ModelServer: {own}+onnx-serving\n"
            f"TensorFlow Library: none, {library}, {rest}"
        )
    return f"onnx-serving {own}, {library}, {rest}"


def _notices_of_flags(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a notice for each flag that was given but sets nothing here.

    Raises:
        ConfigError: a flag asks for a feature that this server lacks.
    """
    for flag in tensorflow_flags.FLAGS:
        value = values.get(flag.name)
        notice = "" if value in {None, ""} else flag.notice(value)
        if notice and flag.kind == "refused":
            raise ConfigError(notice)
        if notice:
            yield notice


def _one_source(
    values: Mapping[str, Any], variables: Mapping[str, Any], notices: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return flags and variables without unset values, with only one source of models.

    A flag for one source overrides the variables for all other sources, and `--model_config_file`
    overrides the flags of a single model. Flags that set nothing here are dropped too.
    """
    own = {flag.name for flag in tensorflow_flags.FLAGS}
    variables = {
        name: value
        for name, value in variables.items()
        if value is not None and name not in values and name not in own
    }
    values = {
        name: value for name, value in values.items() if value is not None and name not in own
    }
    if "model_config_file" in values:
        void = [name for name in _OF_ONE_MODEL if name in values]
        if void:
            flags = " and ".join(f"--{name}" for name in void)
            notices.append(f"{flags} given with --model_config_file, which overrides them")
        values = {name: value for name, value in values.items() if name not in void}
    sources = [name for name in _SOURCES if name in values]
    sources = sources or [name for name in _SOURCES if name in variables][:1]
    dropped = set(_SOURCES) - set(sources)
    if sources and "model_base_path" in dropped:
        dropped |= {"model_name"}
    if sources and "model_config_file" in dropped:
        dropped |= {"model_config_file_poll_wait_seconds"}
    variables = {name: value for name, value in variables.items() if name not in dropped}
    poll = "model_config_file_poll_wait_seconds"
    if values.get(poll) and "model_config_file" not in {*values, *variables}:
        notices.append(f"--{poll} has no effect, because there is no --model_config_file")
        values = {name: value for name, value in values.items() if name != poll}
    return dict(values), variables


def _share_one_port(chosen: dict[str, Any], notices: list[str]) -> None:
    """Drop a REST port that equals the gRPC port, with a notice.

    TensorFlow Serving also starts then, and answers gRPC on the port.
    """
    port = chosen.get("rest_api_port")
    if port and port == chosen.get("port", ServerConfig.port):
        del chosen["rest_api_port"]
        answers = "gRPC only" if chosen.get("front") == "grpcio" else "gRPC and REST"
        notices.append(
            f"server_options.http_port cannot be same as grpc_port: port {port} answers {answers}"
        )


def _give_way_with_health(
    chosen: dict[str, Any], flags: Mapping[str, Any], notices: list[str]
) -> None:
    """Drop a health port from the environment if a flag uses the same port for gRPC or REST.

    The user of the flag may not know of the variable, which a container image may have set.
    """
    port = chosen.get("health_port")
    names = [name for name in ("port", "rest_api_port") if port and flags.get(name) == port]
    if names and "health_port" not in flags:
        del chosen["health_port"]
        notices.append(
            f"--{names[0]}={port} is also SERVING_HEALTH_PORT, so that there is no separate port "
            "for health; set that variable to another port to have one"
        )


def _docker_variables(
    environment: Mapping[str, str], flags: Mapping[str, Any], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of the single model that MODEL_NAME and MODEL_BASE_PATH name.

    Empty if neither is set, or if a flag or variable sets `model_base_path`.
    """
    names = {_DOCKER_NAME[0], _DOCKER_BASE_PATH[0]}
    if not names & environment.keys() or "model_base_path" in {*flags, *variables}:
        return {}
    name = flags.get("model_name") or environment.get(*_DOCKER_NAME)
    return {
        "model_name": name,
        "model_base_path": base_path_of(environment.get(*_DOCKER_BASE_PATH)) / name,
    }


def _boolean(text: str, source: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        msg = f"{source} is {text!r}, expected true or false"
        raise ConfigError(msg) from None


def _convert(setting: "Field[Any] | TensorFlowFlag", text: str, source: str) -> Any:  # noqa: ANN401 - any setting
    """Convert a text to its setting's type; an empty text leaves a path or a name unset.

    Raises:
        ConfigError: the text cannot be parsed.
    """
    if setting.type is bool:
        return _boolean(text, source)
    if setting.type in {Path | None, BasePath | None}:
        parse_path = local_path if setting.type == Path | None else base_path_of
        return _path(text, source, parse_path) if text else None
    if setting.type is str:
        return text or None
    if setting.type == int | None and not text:
        return None
    if setting.type not in {int, float, int | None}:
        return text
    try:
        number = float(text) if setting.type is float else _whole(text)
    except ValueError:
        msg = f"{source} is {text!r}, expected a number"
        raise ConfigError(msg) from None
    negative = None if isinstance(setting, TensorFlowFlag) else setting.metadata["negative"]
    return number if negative is None or number >= 0 else negative


def _whole(text: str) -> int:
    """Parse a whole number as C does; Python's `int` would also accept underscores."""
    if not re.fullmatch(r"\s*[+-]?\d+", text):
        raise ValueError(text)
    return int(text)


def _path(text: str, source: str, parse_path: Callable[[str], BasePath]) -> BasePath:
    """Parse a path or a URI.

    Raises:
        ConfigError: the path is in a file system that cannot be read.
    """
    try:
        return parse_path(text)
    except InvalidInput as error:
        msg = f"{source} is {text!r}: {error.message}"
        raise ConfigError(msg) from None
