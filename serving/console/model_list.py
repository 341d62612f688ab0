"""The list of models: versions, labels, states with reasons, and how loaded versions run."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime

from serving.console.live_figures import LIMITS
from serving.engine.catalog import Catalog, ModelEntry
from serving.engine.servable import Servable
from serving.errors import ServingError
from serving.monitoring import identity
from serving.repository.model_folder import variant_file
from serving.repository.version_folders import BasePath
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import TensorSpec

# Returns the local folder of a version by the folder of its model and its number.
FolderOf = Callable[[BasePath, int], Path]


def state(catalog: Catalog) -> str:
    """Return a text that changes when a model, a version, a label or a state does."""
    facts = [
        (
            name,
            sorted(entry.config.labels.items()),
            entry.complaint,
            [
                (each.version, each.state.name, each.error_code.name, each.error_message)
                for each in catalog.known_statuses(name)
            ],
        )
        for name, entry in catalog.models.items()
    ]
    return hashlib.sha256(repr(facts).encode(errors="replace")).hexdigest()[:16]


class GraphFile(NamedTuple):
    """A graph that runs: the folder of its model, its version, and its name."""

    model: BasePath
    version: int
    name: str


def graph_files(catalog: Catalog) -> list[GraphFile]:
    """Return the graphs of all loaded versions."""
    return [
        graph
        for entry in catalog.models.values()
        for servable in entry.servables.values()
        for graph in _graphs(servable, entry.config.base_path)
    ]


def sizes_of(graphs: Iterable[GraphFile], folder_of: FolderOf) -> dict[GraphFile, int]:
    """Return the sizes of graphs in bytes, without those that are gone. It waits for the disk."""
    found = {}
    for graph in graphs:
        try:
            found[graph] = (folder_of(graph.model, graph.version) / graph.name).stat().st_size
        except (OSError, ServingError):  # replaced or removed since, or a SavedModel
            continue
    return found


def document(
    catalog: Catalog, server: Mapping[str, Any], sizes: Mapping[GraphFile, int]
) -> dict[str, Any]:
    """Return the list.

    Args:
        catalog: The models.
        server: Further facts about the server.
        sizes: Sizes of the graphs in bytes.

    Returns:
        `server`; `limits` of the live figures; `state`, see `state`; and `models`, each with
        `name`, `labels`, `complaint` and `versions`, the newest first.
    """
    about = {
        "name": identity.NAME,
        "version": identity.version(),
        "onnxruntime": onnxruntime.__version__,
    }
    return {
        "server": {**about, **server},
        "limits": LIMITS,
        "state": state(catalog),
        "models": [_model(catalog, name, entry, sizes) for name, entry in catalog.models.items()],
    }


def visible(document: Mapping[str, Any], models: frozenset[str] | None) -> dict[str, Any]:
    """Return the list with those models only that a caller may use; None for all."""
    kept = [each for each in document["models"] if models is None or each["name"] in models]
    return {**document, "models": kept}


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def _model(
    catalog: Catalog, name: str, entry: ModelEntry, sizes: Mapping[GraphFile, int]
) -> dict[str, Any]:
    versions = []
    for status in catalog.known_statuses(name):
        servable = entry.servables.get(status.version)
        versions.append(
            {
                "version": status.version,
                "state": status.state.name,
                "code": status.error_code.name,
                "reason": status.error_message,
                "loaded": servable and _loaded(servable, entry.config.base_path, sizes),
            }
        )
    return {
        "name": name,
        "labels": dict(entry.config.labels),
        "complaint": entry.complaint,
        "versions": versions,
    }


def _loaded(
    servable: Servable, base_path: BasePath, sizes: Mapping[GraphFile, int]
) -> dict[str, Any]:
    graphs = _graphs(servable, base_path)
    return {
        "precision": servable.precision,
        "provider": servable.provider,
        "platform": servable.platform,
        "warm_up_seconds": servable.warm_up_seconds,
        "load_bytes": servable.load_bytes,
        "max_rows": servable.max_rows,
        "class_names": servable.class_names,
        "graphs": {graph.name: sizes[graph] for graph in graphs if graph in sizes},
        "signatures": {
            name: _signature(servable, name, signature)
            for name, signature in servable.signatures.items()
        },
    }


def _graphs(servable: Servable, base_path: BasePath) -> list[GraphFile]:
    files = sorted({each.file for each in servable.signatures.values()})
    return [
        GraphFile(base_path, servable.version, variant_file(file, servable.precision))
        for file in files
    ]


def _signature(servable: Servable, name: str, signature: Signature) -> dict[str, Any]:
    verdict = servable.verdicts[name]
    return {
        "method": signature.method_name,
        "inputs": [
            _tensor(alias, spec) | {"optional": alias in signature.defaults}
            for alias, spec in signature.inputs.items()
        ],
        "outputs": [_tensor(alias, spec) for alias, spec in signature.outputs.items()],
        "features": [
            {"key": spec.key, "kind": spec.kind.value, "required": spec.default is None}
            | _tensor(alias, spec.tensor)
            for alias, spec in (signature.feature_spec or {}).items()
        ],
        "batched": servable.batched[name],
        "independent": verdict.independent,
        "evidence": verdict.evidence,
        "proved_rows": verdict.max_batch_size,
    }


def _tensor(alias: str, spec: TensorSpec) -> dict[str, Any]:
    return {"name": alias, "dtype": spec.dtype.name, "shape": spec.shape}
