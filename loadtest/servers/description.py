"""The models and versions of a server, read from its metrics page.

This project's server has the page on every port.
"""

import http.client
import re
import urllib.request
from dataclasses import dataclass

from loadtest.settings.config import PLAIN, ConnectionConfig

_PATH = "/monitoring/prometheus/metrics"
_TIMEOUT_SECONDS = 10.0
_LABELS = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MODEL = frozenset({"model_name", "version", "device", "precision"})
_BUILD = frozenset({"version", "onnxruntime_version"})


@dataclass(frozen=True)
class ServedModel:
    """The latest version of a model.

    Attributes:
        version: Version number.
        precision: Precision of the graph that the server runs.
        provider: ONNX Runtime's name of the execution provider.
    """

    version: int
    precision: str
    provider: str


@dataclass(frozen=True)
class Served:
    """The content of a metrics page.

    Attributes:
        models: The latest version of each model by name; empty if the page lists none.
        versions: Versions of the server and of ONNX Runtime by name.
    """

    models: dict[str, ServedModel]
    versions: dict[str, str]


def ask(address: str, connection: ConnectionConfig = PLAIN) -> Served:
    """Read the metrics page of a server; return empty fields if it has no such page.

    Args:
        address: `host:port`.
        connection: TLS and headers of the connection.

    Raises:
        UsageError: see `ConnectionConfig.ssl_context`.
    """
    page = get(address, _PATH, connection)
    return Served({}, {}) if page is None else read(page.decode(errors="replace"))


def get(address: str, path: str, connection: ConnectionConfig) -> bytes | None:
    """Return the document of a server's path; None if it has none or does not answer.

    Args:
        address: `host:port`.
        path: Path, from its slash on.
        connection: TLS and headers of the connection.

    Raises:
        UsageError: see `ConnectionConfig.ssl_context`.
    """
    url = f"{'https' if connection.tls else 'http'}://{address}{path}"
    request = urllib.request.Request(url, headers=dict(connection.headers))  # noqa: S310 - http or https
    context = connection.ssl_context()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=context) as page:  # noqa: S310 - as above
            content: bytes = page.read()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return content


def read(page: str) -> Served:
    """Parse a metrics page in Prometheus' text format."""
    models: dict[str, ServedModel] = {}
    versions: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        labels = dict(_LABELS.findall(line))
        if _BUILD.issubset(labels):
            versions = {
                "onnx-serving": labels["version"],
                "onnxruntime": labels["onnxruntime_version"],
            }
        elif _MODEL.issubset(labels) and labels["version"].isdigit():
            known = models.get(labels["model_name"])
            version = int(labels["version"])
            if known is None or version > known.version:
                provider = f"{labels['device'].upper()}ExecutionProvider"
                models[labels["model_name"]] = ServedModel(version, labels["precision"], provider)
    return Served(models, versions)
