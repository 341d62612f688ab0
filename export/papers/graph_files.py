"""The entries of metrics.json about a graph's file and about the export that wrote it."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from training.evaluation.provenance import package_commit


def file_section(file: Path) -> dict[str, Any]:
    """Name, size in bytes and SHA-256 of a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": digest}


def export_section(
    model: onnx.ModelProto, signatures: Mapping[str, Any], packages: Mapping[str, str]
) -> dict[str, Any]:
    """Section `export`: signatures, opset, versions, commit and time of this export.

    Args:
        model: The first signature's graph.
        signatures: All published signatures by name.
        packages: Versions of the packages that took part in the export, by name.
    """
    opsets = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    return {
        "signatures": sorted(signatures),
        "opset": opsets.get("ai.onnx"),
        "ir_version": model.ir_version,
        "versions": dict(packages),
        "git_commit": package_commit(__name__),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(*names: str) -> dict[str, str]:
    """The installed versions of packages by name."""
    return {name: metadata.version(name) for name in names}
