"""Triton's extensions around inference, which gRPC and REST share: what the server says of itself.

Configuration and statistics of versions follow Triton's extension_model_configuration.md and
extension_statistics.md. The settings of traces and of the log can be read as in extension_trace.md
and extension_logging.md, but calls cannot change them. `model_repository` has the extension that
loads and unloads models.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from serving.access.caller import CURRENT
from serving.engine.catalog import Catalog
from serving.errors import FailedPrecondition, Unsupported
from serving.monitoring.version_statistics import Duration, VersionStatistics
from serving.protocols.kserve import model_configuration, operations
from serving.protocols.kserve.operations import KServeOperations

Statistics = Callable[[], Awaitable[Sequence[VersionStatistics]]]

_NONE = Duration(0, 0)


def extensions(*, statistics: bool, explicit: bool) -> tuple[str, ...]:
    """Return the names of the extensions that work on a server, for its metadata.

    `trace` and `logging` are not among them, because calls cannot change these settings.

    Args:
        statistics: Whether the server counts.
        explicit: Whether calls may load and unload models. The server has no models that depend on
            others, so that it also unloads all dependents.
    """
    return (
        *operations.EXTENSIONS,
        "model_configuration",
        *(("statistics",) if statistics else ()),
        *(("model_repository", "model_repository(unload_dependents)") if explicit else ()),
    )


class Management:
    """The operations of these extensions."""

    def __init__(
        self,
        kserve: KServeOperations,
        catalog: Catalog,
        statistics: Statistics | None,
        *,
        traced: bool,
        log_format: str,
    ) -> None:
        """Bind the operations.

        Args:
            kserve: Finds the versions that requests name.
            catalog: Has the settings of the models.
            statistics: Returns the statistics of all versions, over all worker processes; None if
                the server does not count.
            traced: Whether requests are traced (`--enable_tracing`).
            log_format: Format of the log's lines (`--log_format`).
        """
        self._kserve = kserve
        self._catalog = catalog
        self._statistics = statistics
        self._traced = traced
        self._log_format = log_format

    def model_config(self, name: str, version: str) -> dict[str, Any]:
        """Return the configuration of a version, in the JSON form of the message ModelConfig.

        Args:
            name: Model name.
            version: Version number in decimal; empty for the latest.

        Raises:
            FailedPrecondition, InvalidInput, NotFound, Unavailable, Unsupported: see
                `KServeOperations.described` and `model_configuration.describe`.
        """
        servable = self._kserve.described(name, version)
        return model_configuration.describe(servable, self._catalog.models[name].config)

    async def statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """Return the statistics of versions, each in the JSON form of the message ModelStatistics.

        Args:
            name: Model name; empty for all models that the caller may see.
            version: Version number in decimal; empty for all versions.

        Raises:
            FailedPrecondition: the server does not count.
            InvalidInput, NotFound, Unavailable: see `KServeOperations.servable`.
        """
        if self._statistics is None:
            msg = (
                "this server has no statistics, because --monitoring_config_file disables its "
                "metrics"
            )
            raise FailedPrecondition(msg)
        number = None
        if name:
            servable = self._kserve.servable(name, version)
            number = servable.version if version else None
        sees = CURRENT.get().sees
        return [
            _statistics(one)
            for one in await self._statistics()
            if (one.name == name if name else sees(one.name))
            and (number is None or one.version == number)
        ]

    def trace_settings(self, model: str, changes: Mapping[str, object]) -> dict[str, Any]:
        """Return the settings of traces.

        OpenTelemetry makes the traces, and its OTEL_* variables say which requests have one, so
        that the rate here is 1.

        Args:
            model: Name of a model, which has the same settings as the server; empty for none.
            changes: New settings by name; must be empty.

        Raises:
            InvalidInput, NotFound, Unavailable: see `KServeOperations.servable`.
            Unsupported: a setting is to be changed.
        """
        if model:
            self._kserve.servable(model, "")
        if changes:
            msg = (
                f"trace settings cannot be changed by a call; given: {', '.join(changes)}; "
                "start the server with or without --enable_tracing, and with the OTEL_* variables "
                "of docs/tracing.md"
            )
            raise Unsupported(msg)
        return {
            "trace_file": "",
            "trace_level": ["TIMESTAMPS" if self._traced else "OFF"],
            "trace_rate": "1",
            "trace_count": "-1",
            "log_frequency": "0",
            "trace_mode": "opentelemetry",
        }

    def log_settings(self, changes: Mapping[str, object]) -> dict[str, bool | int | str]:
        """Return the settings of the log.

        Args:
            changes: New settings by name; must be empty.

        Raises:
            Unsupported: a setting is to be changed.
        """
        if changes:
            msg = (
                f"log settings cannot be changed by a call; given: {', '.join(changes)}; "
                "start the server with another --log_format"
            )
            raise Unsupported(msg)
        logs = logging.getLogger("serving").isEnabledFor
        return {
            "log_file": "",
            "log_info": logs(logging.INFO),
            "log_warning": logs(logging.WARNING),
            "log_error": logs(logging.ERROR),
            "log_verbose_level": int(logs(logging.DEBUG)),
            "log_format": self._log_format,
        }


def _statistics(one: VersionStatistics) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": str(one.version),
        "last_inference": one.last_inference_ms,
        "inference_count": one.rows,
        "execution_count": one.runs,
        "inference_stats": {
            "success": asdict(one.success),
            "fail": asdict(one.fail),
            "queue": asdict(one.queue),
            "compute_input": asdict(one.gathering),
            "compute_infer": asdict(one.running),
            "compute_output": asdict(one.delivering),
            "cache_hit": asdict(_NONE),
            "cache_miss": asdict(_NONE),
        },
        "batch_stats": [
            {
                "batch_size": size.size,
                "compute_input": asdict(size.gathering),
                "compute_infer": asdict(size.running),
                "compute_output": asdict(size.delivering),
            }
            for size in one.sizes
        ],
    }
