"""The audit log: one line for every change of the models or the keys, and by whom.

Its lines have the logger `serving.audit`::

    models changed by deploy from 10.0.0.7:40112: added resnet50; removed simcnn
    models changed by file models.config: changed simcnn
    models not changed by anonymous from 10.0.0.9:51820: asked for removed simcnn; refused: ...
"""

import logging
from collections.abc import Hashable, Mapping

logger = logging.getLogger("serving.audit")

_ADDRESS_PARTS = 2


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Describe the difference of two sets by the names of their elements."""
    kinds = {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": [name for name in after if name in before and after[name] != before[name]],
    }
    told = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]
    return "; ".join(told) or "nothing is different"


def record(what: str, change: str, *, by: str, peer: str = "") -> None:
    """Log a change.

    Args:
        what: What has changed: `models` or `keys`.
        change: The change, such as the result of `difference`.
        by: Name of the caller, or of the file.
        peer: Address of the caller; empty for a file.
    """
    logger.info("%s changed by %s%s: %s", what, by, _from(peer), change)


def record_refusal(what: str, change: str, reason: str, *, by: str, peer: str = "") -> None:
    """Log a change that was asked for and refused; arguments as for `record`."""
    logger.warning(
        "%s not changed by %s%s: asked for %s; refused: %s", what, by, _from(peer), change, reason
    )


def peer_of(connection: Hashable) -> str:
    """Return the address of a connection as text: ASGI's host and port, or grpcio's text."""
    if isinstance(connection, list | tuple) and len(connection) == _ADDRESS_PARTS:
        host, port = connection
        return f"{host}:{port}"
    return str(connection or "a Unix socket")


def _from(peer: str) -> str:
    return f" from {peer}" if peer else ""
