"""Batching settings: from flags, from a common file, and from a version's own file."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from serving.engine.batching.batching_config import (
    ROWS_ON_CPU,
    ROWS_ON_CUDA,
    BatchingConfig,
)
from serving.settings import batching_file

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

# Name of the file in a version's folder with its own BatchingParameters, as in TensorFlow Serving.
VERSION_FILE = "batching_params.pbtxt"


def of_all(config: "ServerConfig") -> tuple[BatchingConfig, int]:
    """Return the batching settings for all versions, from the flags or the common file.

    Returns:
        The settings, and the number of runs at a time that the file asks for (0: it asks for none).

    Raises:
        ConfigError: a file of batching parameters cannot be read or parsed.
    """
    by_flags = _by_flags(config)
    platform = config.platform()
    if platform is not None:
        if platform.batching is None:
            return by_flags, 0
        return batching_file.translate(platform.batching, replace(by_flags, enabled=True))
    if config.batching_parameters_file is None:
        return by_flags, 0
    return batching_file.read(config.batching_parameters_file, by_flags)


def of_version(config: "ServerConfig", name: str, version: Path) -> BatchingConfig:
    """Return the batching settings of one version.

    If versions may have their own files, the common file sets the threads only, as in TensorFlow
    Serving: a version without its own file uses the flags.

    Args:
        config: The settings.
        name: Model name.
        version: The version's folder.

    Raises:
        ConfigError: a file of batching parameters cannot be read or parsed.
    """
    platform = config.platform()
    per_model = (
        config.enable_per_model_batching_parameters
        if platform is None
        else platform.per_model_batching
    )
    chosen = _by_flags(config) if per_model else of_all(config)[0]
    if per_model and (file := version / VERSION_FILE).is_file():
        return replace(batching_file.read(file, chosen)[0], forced_by=VERSION_FILE)
    if name in map(str.strip, config.force_batching.split(",")):
        return replace(chosen, forced_by="--force_batching")
    return chosen


def _by_flags(config: "ServerConfig") -> BatchingConfig:
    return BatchingConfig(
        enabled=config.enable_batching,
        max_batch_size=config.max_batch_size or ROWS_ON_CPU,
        max_batch_size_on_cuda=0 if config.max_batch_size else ROWS_ON_CUDA,
        batch_timeout_micros=config.batch_timeout_micros,
        max_enqueued_rows=config.max_enqueued_rows,
    )
