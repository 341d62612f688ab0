"""The model source: which models a server is asked to serve, and how it loads a version of one."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.loading import progress
from serving.engine.managed_model import LoadServable
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import ConfigError, DataLoss
from serving.protocols.tfs import warmup
from serving.repository.model_config import ModelConfig
from serving.repository.model_folder import list_versions
from serving.settings.config import DEFAULT_MODELS_DIR, ServerConfig
from serving.settings.models_file import ModelConfigFile
from serving.workers.worker import Link, WorkerManager


class ModelSource:
    """Where the models come from: a folder, a list in a file, or the supervisor of the workers."""

    def __init__(self, config: ServerConfig, link: Link | None) -> None:
        """Read the list of models, if there is one.

        Args:
            config: The settings.
            link: To the supervisor, if this is one worker of several.

        Raises:
            ConfigError: the list of models cannot be understood.
        """
        self._config = config
        self._link = link
        self._file: ModelConfigFile | None = None
        self._given = None if link is None else link.models
        if self._given is None and config.model_config_file is not None:
            retry_seconds = config.manager().retry_seconds
            self._file = ModelConfigFile(config.model_config_file, retry_seconds=retry_seconds)
        self._in_folders = config.find_models()

    @property
    def file_failures(self) -> int:
        """How many looks at the `model_config_file` found a list that could not be served."""
        return 0 if self._file is None else self._file.failures

    def find(self) -> Mapping[str, ModelConfig]:
        """The models to serve now, by name.

        Raises:
            OSError: the folder of models cannot be read.
        """
        if self._given is not None:
            return self._given
        return self._in_folders() if self._file is None else self._file.models

    def manager(self, load: LoadServable, catalog: Catalog) -> Manager:
        """The manager that serves these models; nothing is loaded yet."""
        config = self._config.manager()
        if self._link is None:
            return Manager(self.find, load, config, catalog)
        return WorkerManager(self.find, load, config, catalog, self._link)

    def watch(self, manager: Manager) -> asyncio.Task[None] | None:
        """Begin to hand changes of the file with the list to the manager.

        Returns:
            The task that does it, for the caller to cancel; None if there is nothing to look at.
        """
        poll_seconds = self._config.model_config_file_poll_wait_seconds
        if self._file is None or not poll_seconds:
            return None
        return asyncio.create_task(self._file.watch(manager.reload, poll_seconds))

    def require_models(self) -> None:
        """Refuse to start on a folder that is surely not meant.

        Raises:
            ConfigError: the folder of models, or of the one model, cannot be read or is empty.
        """
        if self._given is not None or self._file is not None:
            return  # an empty list is a wish, and its folders may fill later
        path = self._config.model_base_path
        try:
            models = self.find()
            versions = [] if path is None else list_versions(path)
        except PermissionError as error:
            raise ConfigError(_not_readable(error)) from error
        except OSError as error:
            raise ConfigError(str(error)) from error
        if path is not None and not versions:
            msg = (
                f"no version of {self._config.model_name} found in {path.absolute()}; expected "
                "<version>/model.onnx in it, or another --model_base_path"
            )
            raise ConfigError(msg)
        if not models:
            folder = (self._config.models_dir or DEFAULT_MODELS_DIR).absolute()
            msg = (
                f"no model found in {folder}; expected <name>/<version>/model.onnx in it, or "
                "another --models_dir"
            )
            raise ConfigError(msg)


def _not_readable(error: PermissionError) -> str:
    """The message for a folder of models that this process may not read."""
    return (
        f"cannot read {error.filename}: {error.strerror}; expected a folder that user "
        f"{os.getuid()} (group {os.getgid()}), as whom this server runs, may list and read; allow "
        f"it with chmod -R a+rX {error.filename}, or run the server as the folder's owner"
    )


def version_loader(
    runtime: RuntimeConfig,
    batching_of: Callable[[str, Path], BatchingConfig],
    *,
    warm_up: int,
    on_load: Callable[[Servable], None],
) -> LoadServable:
    """The function that turns a version's folder into a servable that is ready for calls.

    Args:
        runtime: How its graph is run.
        batching_of: How requests to a version are gathered, by model name and version folder.
        warm_up: Times that each request which the version brings for this is answered, after a run
            on made-up inputs; 0: neither.
        on_load: Told of every servable that was loaded.
    """

    def load(name: str, version: int, path: Path) -> Servable:
        try:
            batching = batching_of(name, path)
        except ConfigError as error:
            raise DataLoss(str(error)) from error
        servable = Servable.load(name, version, path, runtime, batching, warm_up=bool(warm_up))
        if warm_up:
            progress.note("replaying its warm-up requests")
            started = time.perf_counter()
            try:
                warmup.replay(servable, path, iterations=warm_up)
            except Exception:
                servable.close()
                raise
            servable.warm_up_seconds += time.perf_counter() - started
        on_load(servable)
        return servable

    return load
