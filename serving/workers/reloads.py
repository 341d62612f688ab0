"""Changes of the models that all workers take over, or none of them."""

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from serving.errors import ServingError, Unavailable
from serving.repository import model_config
from serving.repository.explicit_models import changed
from serving.workers.worker_process import WorkerProcess

logger = logging.getLogger(__name__)


class Reloads:
    """Runs reloads, one at a time.

    Attributes:
        models: The set for workers that start from now on, from `model_config.to_json`; None: the
            models of the settings.
    """

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        """Begin with the models of the settings.

        Args:
            workers: The workers; the list may grow.
        """
        self._workers = workers
        self._running = asyncio.Lock()
        self.models: list[Any] | None = None

    async def tell(self) -> list[Any] | None:
        """Return the models for a worker that has just started.

        It waits for a reload in progress; otherwise this worker could load the old set while the
        others commit the new one.
        """
        async with self._running:
            return self.models

    async def settle(self, models: list[Any]) -> list[Any]:
        """Return the set that all workers begin with: that of the first one that calls this.

        Args:
            models: The set that a worker has found by itself, from `model_config.to_json`.
        """
        async with self._running:
            if self.models is None:
                self.models = models
            return self.models

    async def reload(self, models: list[Any]) -> None:
        """Reload the models in all workers, or in none.

        Args:
            models: The complete new set, from `model_config.to_json`.

        Raises:
            Unavailable: a worker is not ready.
            ServingError: a worker could not load the set.
        """
        async with self._running:
            await self._replace(models)

    async def change(self, change: Mapping[str, Any]) -> None:
        """Change a few models in all workers, or in none.

        Args:
            change: `models` to add or to replace, from `model_config.to_json`, and the names of
                those to take out in `without`.

        Raises:
            Unavailable, ServingError: see `reload`.
        """
        changes: dict[str, model_config.ModelConfig | None]
        changes = {**model_config.from_json(change["models"]), **dict.fromkeys(change["without"])}
        async with self._running:
            now = model_config.from_json(self.models or [])
            await self._replace(model_config.to_json(changed(now, changes)))

    async def _replace(self, models: list[Any]) -> None:
        for worker in self._workers:
            if not worker.ready:
                msg = f"worker {worker.number} is being started; retry when it is ready"
                raise Unavailable(msg)
        outcomes = await asyncio.gather(
            *(worker.ask("prepare", models) for worker in self._workers), return_exceptions=True
        )
        errors = [error for error in outcomes if isinstance(error, BaseException)]
        verdict = "abort" if errors else "commit"
        if not errors:
            self.models = models  # for workers that are restarted from now on
        await asyncio.gather(
            *(
                _conclude(worker, verdict)
                for worker, outcome in zip(self._workers, outcomes, strict=True)
                if not isinstance(outcome, BaseException)
            )
        )
        if errors:
            raise errors[0]


async def _conclude(worker: WorkerProcess, verdict: str) -> None:
    """Make a worker commit or abort the set that it has prepared; kill it if that fails."""
    try:
        await worker.ask(verdict)
    except ServingError as error:
        # It is unknown which set the worker serves now. Its successor gets the set of `Reloads`.
        logger.error("worker %d could not %s: %s", worker.number, verdict, error.message)  # noqa: TRY400
        worker.signal(signal.SIGKILL)
