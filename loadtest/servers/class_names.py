"""The names of a model's classes: of its folder, or of the server that has loaded it.

This project's server has them among the documents of its console, on every port. It answers
callers with the role `admin`, under its address or a name that it knows.
"""

import json
from pathlib import Path

from loadtest.servers import description
from loadtest.settings.config import PLAIN, ConnectionConfig

_PATH = "/console/models"


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
    page = description.get(address, _PATH, connection)
    if page is None:
        return ()
    try:
        document = json.loads(page)
        loaded = {
            int(each["version"]): each["loaded"]["class_names"]
            for entry in document["models"]
            if entry["name"] == model
            for each in entry["versions"]
            if each["loaded"]
        }
        chosen = max(loaded) if version is None else version
        return tuple(map(str, loaded[chosen]))
    except (ValueError, LookupError, TypeError):
        return ()
