"""The names of a model's classes: of its folder, or of the server that has loaded it.

This project's server has them among the documents of its console, on every port. It answers
callers with the role `admin`, under its address or a name that it knows.
"""

import http.client
import json
import urllib.request
from pathlib import Path

from loadtest.settings.config import PLAIN, ConnectionConfig

_PATH = "/console/models"
_TIMEOUT_SECONDS = 10.0


def of_folder(models_dir: Path, model: str, version: int | None) -> tuple[str, ...]:
    """Return the names in `<models_dir>/<model>/<version>/signature.json`; empty if unknown."""
    path = models_dir / model / str(version) / "signature.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(map(str, document["class_names"]))
    except (OSError, ValueError, LookupError, TypeError):
        return ()


def of_server(
    address: str, model: str, version: int | None, connection: ConnectionConfig = PLAIN
) -> tuple[str, ...]:
    """Ask a server for the names of the classes of a model; empty if it does not tell.

    Args:
        address: `host:port`.
        model: Model name.
        version: Version number; None for the latest one that is loaded.
        connection: TLS and headers of the connection.

    Raises:
        UsageError: see `ConnectionConfig.ssl_context`.
    """
    url = f"{'https' if connection.tls else 'http'}://{address}{_PATH}"
    request = urllib.request.Request(url, headers=dict(connection.headers))  # noqa: S310 - http or https
    context = connection.ssl_context()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310 - as above
            document = json.load(answer)
        loaded = {
            int(each["version"]): each["loaded"]["class_names"]
            for entry in document["models"]
            if entry["name"] == model
            for each in entry["versions"]
            if each["loaded"]
        }
        chosen = max(loaded) if version is None else version
        return tuple(map(str, loaded[chosen]))
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return ()
