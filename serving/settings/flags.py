"""The command line and the environment. A flag beats `SERVING_PORT` beats the default."""

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime

from serving.errors import ConfigError
from serving.settings.config import DEFAULT_MODELS_DIR, ServerConfig

ENVIRONMENT_PREFIX = "SERVING_"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
# Where the models come from, the strongest variable first: a container image may set the last one.
_SOURCES = ("model_config_file", "model_base_path", "models_dir")
# The variables of TensorFlow Serving's container image, and what it takes if one of them is unset.
_DOCKER_NAME = ("MODEL_NAME", "model")
_DOCKER_BASE_PATH = ("MODEL_BASE_PATH", str(Path("/") / DEFAULT_MODELS_DIR))


def parse_config(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Read the settings.

    Args:
        arguments: Command line without the program's name.
        environment: Environment variables.

    Raises:
        ConfigError: a value cannot be understood, is out of range or contradicts another.
        SystemExit: `--help`, `--version`, or an unknown flag.
    """
    flags = vars(_parser().parse_args(arguments))
    settings = {setting.name: setting for setting in fields(ServerConfig)}
    values = {
        name: _convert(settings[name], text, f"--{name}")
        for name, text in flags.items()
        if text is not None
    }
    variables = {
        name: _convert(setting, environment[variable], variable)
        for name, setting in settings.items()
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
        # Kubernetes tells every pod of a Service named "serving" by SERVING_PORT=tcp://...
        and not environment[variable].startswith("tcp://")
    }
    variables |= _docker_variables(environment, values, variables)
    # Of the places that models can come from, a flag for one beats variables for any other.
    sources = [name for name in _SOURCES if name in values]
    sources = sources or [name for name in _SOURCES if name in variables][:1]
    dropped = set(_SOURCES) - set(sources)
    if sources and "model_base_path" in dropped:
        dropped |= {"model_name"}
    if sources and "model_config_file" in dropped:
        dropped |= {"model_config_file_poll_wait_seconds"}
    kept = {name: value for name, value in variables.items() if name not in dropped}
    return ServerConfig(**(kept | values))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve ONNX models over TensorFlow Serving's API.",
        epilog=(
            f"Each flag has an environment variable: --port is {ENVIRONMENT_PREFIX}PORT. "
            "MODEL_NAME and MODEL_BASE_PATH work as in TensorFlow Serving's container: the model "
            "lies in MODEL_BASE_PATH/MODEL_NAME."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_versions())
    for setting in fields(ServerConfig):
        default = "" if setting.default in {None, ""} else f" (default: {setting.default})"
        parser.add_argument(
            f"--{setting.name}",
            metavar=("BOOL" if setting.type is bool else setting.name.rpartition("_")[2].upper()),
            # `--flag` alone switches a boolean on, `--flag=false` off, as with TensorFlow Serving.
            nargs="?" if setting.type is bool else None,
            const="true" if setting.type is bool else None,
            help=f"{setting.metadata['help']}{default}".replace("%", "%%"),
        )
    return parser


def _versions() -> str:
    return (
        f"onnx-serving {metadata.version('onnx-serving')}, ONNX Runtime {onnxruntime.__version__}, "
        f"h2corn {metadata.version('h2corn')}, Python {platform.python_version()}"
    )


def _docker_variables(
    environment: Mapping[str, str], flags: Mapping[str, Any], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """The single model that MODEL_NAME and MODEL_BASE_PATH name."""
    names = {_DOCKER_NAME[0], _DOCKER_BASE_PATH[0]}
    if not names & environment.keys() or "model_base_path" in {*flags, *variables}:
        return {}
    name = flags.get("model_name") or environment.get(*_DOCKER_NAME)
    return {
        "model_name": name,
        "model_base_path": Path(environment.get(*_DOCKER_BASE_PATH)) / name,
    }


def _convert(setting: "Field[Any]", text: str, source: str) -> Any:  # noqa: ANN401 - any setting
    try:
        if setting.type is bool:
            return _BOOLEANS[text.lower()]
        if setting.type is int:
            return int(text)
        if setting.type == int | None:
            return int(text) if text else None
        if setting.type is float:
            return float(text)
    except (KeyError, ValueError):
        expected = "true or false" if setting.type is bool else "a number"
        msg = f"{source} is {text!r}, expected {expected}"
        raise ConfigError(msg) from None
    if setting.type == Path | None:
        if not text:
            msg = f"{source} is empty, expected a path"
            raise ConfigError(msg)
        return Path(text)
    return text
