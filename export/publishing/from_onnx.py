"""Publish an ONNX file that was made elsewhere, with the documents that every version has.

    ONNX file ─▶ ZipMap removed ─▶ loaded by ONNX Runtime ─▶ rows proved ─▶ papers ─▶ <name>/<N>/

TensorFlow is not needed. The graph itself is the model, so there is no original to compare with.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from export.errors import ExportError
from export.gates import rows
from export.graphs import zip_map
from export.papers import graph_files, papers
from export.publishing.new_version import PublishedVersion, publish, step
from export.sources import class_names as sources
from export.sources import onnx_file
from export.sources.onnx_file import OnnxFile
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.errors import ServingError
from serving.repository.model_folder import ONNX_FILE
from serving.tensors.signature import (
    DEFAULT_SIGNATURE_NAME,
    PREDICT_METHOD_NAME,
    Signature,
    TensorSpec,
)

_METADATA_KEY = "class_names"


def publish_onnx(
    source: Path,
    models_dir: Path,
    *,
    name: str,
    class_names: Sequence[str] = (),
    version: int | None = None,
) -> PublishedVersion:
    """Publish an ONNX file with tensor inputs and outputs.

    Args:
        source: The ONNX file. Its external data files are in the same folder or below, and are
            copied with it.
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model.
        class_names: Names of the classes in output order. The default is the class names in the
            model's metadata, otherwise the labels of a ZipMap.
        version: Number of the version; by default the next number.

    Raises:
        ExportError: the file cannot be read, ONNX Runtime cannot load the graph, the number of
            class names fits no output, or the version cannot be written.
    """
    file = onnx_file.read(source)
    cuts = zip_map.cut(file.model)
    names = tuple(class_names) or _named(file.model) or next((each.labels for each in cuts), ())
    metrics: dict[str, Any] = {}

    def write(folder: Path) -> None:
        with step(f"copying {source}"):
            _write_graph(file, folder, changed=bool(cuts))
        with step("loading it in ONNX Runtime"):
            aliases = {each.tensor: each.output for each in cuts}
            signature = _signature(folder / ONNX_FILE, source, aliases)
        sources.check(names, [signature])
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(folder, {DEFAULT_SIGNATURE_NAME: signature})
        metrics.update(
            model=name,
            **({"class_names": list(names)} if names else {}),
            source=_source_section(file, cuts),
            files=[
                graph_files.file_section(folder / ONNX_FILE),
            ],
            export=graph_files.export_section(
                file.model, signatures, graph_files.versions("numpy", "onnx", "onnxruntime")
            ),
        )
        papers.write(folder, signatures, metrics, class_names=names)

    return PublishedVersion(path=publish(models_dir, name, write, version=version), metrics=metrics)


def _write_graph(file: OnnxFile, folder: Path, *, changed: bool) -> None:
    if changed:
        onnx.save(file.model, folder / ONNX_FILE)
    else:
        shutil.copyfile(file.path, folder / ONNX_FILE)
    for location in file.external:
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path.parent / location, folder / location)


def _signature(graph: Path, source: Path, aliases: Mapping[str, str]) -> Signature:
    """The graph's inputs and outputs as ONNX Runtime reports them.

    Args:
        graph: The ONNX file in the version's folder.
        source: The file that it was copied from, for messages.
        aliases: Names of outputs in the signature, by tensor, where the two differ.
    """
    try:
        runtime = Runtime(graph, RuntimeConfig(device="cpu"))
    except ServingError as error:
        told = " ".join(error.message.replace(str(graph), str(source)).split())
        raise ExportError(told) from error
    outputs: dict[str, TensorSpec] = {
        aliases.get(tensor, tensor): spec for tensor, spec in runtime.outputs.items()
    }
    return Signature(
        method_name=PREDICT_METHOD_NAME, file=ONNX_FILE, inputs=runtime.inputs, outputs=outputs
    )


def _named(model: onnx.ModelProto) -> tuple[str, ...]:
    """The class names in the model's metadata, a JSON list; empty if there are none."""
    for entry in model.metadata_props:
        if entry.key == _METADATA_KEY:
            try:
                names = json.loads(entry.value)
            except ValueError:
                return ()
            return tuple(map(str, names)) if isinstance(names, list) else ()
    return ()


def _source_section(file: OnnxFile, cuts: Sequence[zip_map.CutZipMap]) -> dict[str, Any]:
    section: dict[str, Any] = {"kind": "onnx", **graph_files.file_section(file.path)}
    producer = f"{file.model.producer_name} {file.model.producer_version}".strip()
    if producer:
        section["producer"] = producer
    if file.external:
        section["external_data"] = list(file.external)
    if cuts:
        section["zip_map_cut_from"] = [each.output for each in cuts]
    return section
