"""Loads a version in a thread, after its files were brought to a local folder."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.engine.catalog import State, VersionStatus
from serving.engine.loading import progress
from serving.engine.loading.fetches import Fetches
from serving.engine.managed_model import LoadServable
from serving.engine.runtime import DeviceError
from serving.engine.servable import Servable
from serving.errors import ServingError, StatusCode
from serving.repository.model_config import ModelConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailedLoad:
    """Why a version is not loaded.

    Attributes:
        code: Status code for the version's state.
        message: The reason.
        device: The error, if the configured device cannot run the version.
    """

    code: StatusCode
    message: str
    device: DeviceError | None = None

    def status(self, version: int) -> VersionStatus:
        """Return the state of the version."""
        return VersionStatus(
            version=version,
            state=State.END,
            error_code=self.code,
            error_message=self.message,
        )


class Loads:
    """The loads under way. All methods must be called in the same event loop."""

    def __init__(
        self,
        load: LoadServable,
        fetches: Fetches,
        unless_cancelled: Callable[[Coroutine[Any, Any, Servable]], Coroutine[Any, Any, Servable]],
    ) -> None:
        """Start without loads.

        Args:
            load: Loads a version from a folder; called in a thread.
            fetches: Brings versions to local folders.
            unless_cancelled: See `Unloading.unless_cancelled`.
        """
        self._load = load
        self._fetches = fetches
        self._unless_cancelled = unless_cancelled
        self._names: list[str] = []

    @property
    def names(self) -> Sequence[str]:
        """Versions that a thread is loading or fetching now, as `name/version`.

        Cancelled loads are included.
        """
        return [*self._names, *self._fetches.under_way]

    async def load(
        self,
        config: ModelConfig,
        version: int,
        *,
        waits: bool,
        context: Callable[[], AbstractAsyncContextManager[None]],
    ) -> Servable | FailedLoad | None:
        """Load a version.

        Args:
            config: The model.
            version: The version.
            waits: Whether to wait until a version in a store is fetched.
            context: Returns a context that is entered while the version is loaded.

        Returns:
            The servable, or why it is not loaded; None if it is still being fetched.
        """
        name = config.name
        try:
            path = await self._fetches.path(name, config.base_path, version, waits=waits)
            if path is None:
                return None
            async with context(), progress.reported(f"{name}/{version}"):
                loading = asyncio.to_thread(self._load_now, config, version, path)
                return await self._unless_cancelled(loading)
        except DeviceError as error:
            return FailedLoad(StatusCode.UNKNOWN, str(error), error)
        except ServingError as error:
            return FailedLoad(error.code, error.message)
        except OSError as error:  # the files vanished meanwhile, or may not be read
            return FailedLoad(StatusCode.UNKNOWN, str(error))
        except Exception as error:
            logger.exception("loading %s/%d failed", name, version)
            return FailedLoad(StatusCode.UNKNOWN, str(error) or type(error).__name__)

    def _load_now(self, config: ModelConfig, version: int, path: Path) -> Servable:
        name, own = f"{config.name}/{version}", [config.batching] if config.batching else []
        self._names.append(name)
        try:
            return self._load(config.name, version, path, *own)
        finally:
            self._names.remove(name)
