"""Reads TensorFlow Serving's `model_config_file`, and watches it for changes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from serving.access import audit
from serving.errors import ConfigError, InvalidInput, ServingError
from serving.protos.tfs_config_pb2 import ModelServerConfig
from serving.repository.model_config import (
    ModelConfig,
    by_name,
)
from serving.repository.model_config_message import model_of
from serving.settings import text_protos

logger = logging.getLogger(__name__)

Reload = Callable[[Mapping[str, ModelConfig]], Awaitable[None]]

# Matches the beginning of each model in the text of a file.
_CONFIG_PATTERN = r"\bconfig\s*:?\s*[{<]"


def _models_of_file(file: text_protos.TextProto[ModelServerConfig]) -> dict[str, ModelConfig]:
    if file.message.HasField("custom_model_config"):
        reason = (
            "ModelServer does not yet support custom model config.; expected model_config_list "
            "{ config { ... } }"
        )
        raise file.error(reason, "custom_model_config")
    seen = 0

    def models() -> Iterator[ModelConfig]:
        nonlocal seen
        for model in file.message.model_config_list.config:
            seen += 1
            yield model_of(model)

    try:
        return by_name(models())
    except InvalidInput as error:
        raise file.error(error.message, _CONFIG_PATTERN, seen - 1) from error


class ModelConfigFile:
    """A `model_config_file`, which is checked for changes while the server runs.

    Attributes:
        models: The models of the list when the file was first read.
        failures: Number of checks that found a list which could not be read or served.
    """

    def __init__(self, path: Path, *, retry_seconds: float) -> None:
        """Read the file for the first time.

        Args:
            path: The file.
            retry_seconds: Seconds until a list of models that could not be served is tried again.

        Raises:
            ConfigError: the file cannot be read or parsed; with file, line and reason.
        """
        self._path = path
        self._retry_seconds = retry_seconds
        file = text_protos.read(path, ModelServerConfig)
        self.models = _models_of_file(file)
        if not file.message.HasField("model_config_list"):
            reason = "no model_config_list found: no model is served until the file has one"
            file.warn(reason, r"\S")
        self._text = file.text
        self._served: Mapping[str, ModelConfig] = self.models
        self._again_at: float | None = None
        self._complaint = ""
        self.failures = 0

    async def watch(self, reload: Reload, poll_seconds: float) -> None:
        """Check the file for changes until cancelled.

        If the file is broken, the error is logged and the old list stays in service.

        Args:
            reload: Serves another list of models, or raises a `ServingError`.
            poll_seconds: Seconds between two checks.
        """
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await self.look(reload)
            except Exception:
                logger.exception("cannot check %s for changes; trying again", self._path)

    async def look(self, reload: Reload) -> None:
        """Check the file once; call `reload` if its list has changed or must be tried again."""
        try:
            file = await asyncio.to_thread(text_protos.read, self._path, ModelServerConfig)
            due = self._again_at is not None and time.monotonic() >= self._again_at
            if file.text == self._text and not due:
                if self._again_at is None:
                    self._complaint = ""
                return
            if not file.message.HasField("model_config_list"):
                reason = (
                    "Cannot transition to requested config. It is only legal to transition from "
                    "one ModelConfigList to another.; no model_config_list found"
                )
                raise file.error(reason, r"\S")
            models = _models_of_file(file)
        except ConfigError as error:
            self._complain(str(error))
            return
        self._text, self._again_at = file.text, None
        change, by = audit.difference(self._served, models), f"file {self._path}"
        try:
            await reload(models)
        except ServingError as error:
            # The new models may still be being copied to the disk: try again later.
            self._again_at = time.monotonic() + self._retry_seconds
            if self._complain(f"{self._path}: {error.message}"):
                audit.record_refusal("models", change, error.message, by=by)
            return
        self._complaint = ""
        self._served = models
        audit.record("models", change, by=by)
        logger.info("%s has changed; now serving %s", self._path, ", ".join(models) or "no model")

    def _complain(self, message: str) -> bool:
        """Count a failure, and log it unless the last one had the same message."""
        self.failures += 1
        if message == self._complaint:
            return False
        logger.error("%s; the models served before stay in service", message)
        self._complaint = message
        return True
