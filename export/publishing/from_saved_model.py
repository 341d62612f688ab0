"""Publish a SavedModel that was made elsewhere: convert its signatures, compare on random inputs.

    SavedModel ─▶ ONNX ─▶ random inputs to both ─▶ concurrent requests ─▶ documents ─▶ <name>/<N>/

If a step fails, no version appears.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import failures
from export.convert import to_onnx
from export.errors import ExportError
from export.gates import company, random_inputs, rows
from export.papers import graph_files, papers, version_metrics
from export.publishing.new_version import PublishedVersion, publish, step
from export.sources import saved_model
from export.sources.session_process import SessionProcess
from serving.repository import model_folder

if TYPE_CHECKING:
    from export.gates.asked import Asked


def publish_saved_model(
    source: Path,
    models_dir: Path,
    *,
    name: str,
    wanted: Collection[str] = (),
    free_size: int | None = None,
    keep_shapes: bool = False,
    version: int | None = None,
) -> PublishedVersion:
    """Publish any SavedModel with tensor inputs after a comparison on random inputs.

    Args:
        source: Folder of saved_model.pb.
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model.
        wanted: Names of the signatures to publish; all by default.
        free_size: Size of free dimensions in the random inputs; see random_inputs.check.
        keep_shapes: Whether the graphs accept only the shapes of the SavedModel's placeholders. If
            not, the export tries which other shapes TensorFlow answers; see declared_shapes.
        version: Number of the version; by default the next number.

    Raises:
        ExportError: the SavedModel cannot be read or converted, or the version cannot be written.
        GateFailed: ONNX Runtime's answers differ from TensorFlow's; nothing is published.
    """
    read = saved_model.read_signatures(source, wanted)
    saved_model.check_readable(source)
    metrics: dict[str, Any] = {}
    asked: list[Asked] = []

    def write(folder: Path) -> None:
        try:
            make(folder)
        except ExportError as error:  # name the source: the copy is deleted after an error
            if str(folder) not in str(error):
                raise
            raise type(error)(str(error).replace(str(folder), str(source))) from error

    def make(folder: Path) -> None:
        with step(f"copying {source}"):
            saved_model.copy(source, folder)
        with SessionProcess(folder) as reference:
            with (
                step(f"converting {len(read)} signatures to ONNX"),
                failures.told(f"{source} cannot be converted to ONNX"),
            ):
                signatures = to_onnx.write(
                    folder, read, model_name=name, reference=None if keep_shapes else reference
                )
            with (
                step("comparing both on random inputs"),
                failures.told(f"the graph made of {source} cannot be compared with TensorFlow"),
            ):
                findings = random_inputs.check(
                    reference, folder, signatures, free_size=free_size, asked=asked
                )
        files = sorted({signature.file for signature in signatures.values()})
        first = folder / model_folder.ONNX_FILE
        metrics.update(
            model=name,
            files=[graph_files.file_section(folder / file) for file in files],
            parity={"inputs": "random", "seed": random_inputs.SEED, "outputs": findings},
            export=version_metrics.export_section(first, signatures),
        )
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(folder, signatures)
        with (
            step("sending concurrent requests to the served model"),
            failures.told(f"the version made of {source} cannot be served"),
        ):
            metrics["parity"]["served"] = company.check(folder, signatures, asked)
        papers.write(folder, signatures, metrics)

    return PublishedVersion(path=publish(models_dir, name, write, version=version), metrics=metrics)
