"""Reads the path of the metrics page from TensorFlow Serving's `monitoring_config_file`."""

from pathlib import Path

from serving.protos.tfs_config_pb2 import MonitoringConfig
from serving.settings import text_protos

METRICS_PATH = "/monitoring/prometheus/metrics"


def metrics_path(path: Path | None) -> str | None:
    """Return the path of the metrics page; None if the file disables the page.

    Without a file the page is on, whereas TensorFlow Serving then has none.

    Args:
        path: The file; None if there is none.

    Raises:
        ConfigError: the file cannot be read or parsed, or the path does not begin with `/`.
    """
    if path is None:
        return METRICS_PATH
    file = text_protos.read(path, MonitoringConfig)
    prometheus = file.message.prometheus_config
    page = prometheus.path or METRICS_PATH
    if not page.startswith("/"):
        reason = f"path is {page!r}, expected it to begin with /"
        raise file.error(reason, "path")
    return page if prometheus.enable else None
