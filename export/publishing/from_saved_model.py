"""Publish a SavedModel that was made elsewhere: convert its signatures, compare the answers.

    SavedModel ─▶ ONNX ─▶ random inputs and test data to both ─▶ variants ─▶ concurrent requests
    ─▶ documents ─▶ <name>/<N>/

If a step fails, no version appears.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import failures
from export.convert import picture_signature, to_onnx
from export.errors import ExportError, GateFailed
from export.gates import company, data_parity, random_inputs, rows
from export.gates.asked import Asked
from export.papers import graph_files, papers, version_metrics
from export.precisions.make import FP32
from export.publishing import own_test_data
from export.publishing.new_version import PublishedVersion, all_refused, publish, step
from export.sources import saved_model
from export.sources.session_process import SessionProcess
from serving.repository import model_folder
from serving.repository.model_folder import Precision

if TYPE_CHECKING:
    from serving.tensors.signature import Signature

_log = logging.getLogger("export")


def publish_saved_model(
    source: Path,
    models_dir: Path,
    *,
    name: str,
    wanted: Collection[str] = (),
    free_size: int | None = None,
    keep_shapes: bool = False,
    version: int | None = None,
    class_names: Sequence[str] = (),
    scores_output: str | None = None,
    test_data: Path | None = None,
    precisions: Sequence[Precision] = (FP32,),
    keras_file: Path | None = None,
) -> PublishedVersion:
    """Publish any SavedModel with tensor inputs after a comparison on random inputs and test data.

    Args:
        source: Folder of saved_model.pb.
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model.
        wanted: Names of the signatures to publish; all by default.
        free_size: Size of free dimensions in the random inputs; see random_inputs.check.
        keep_shapes: Whether the graphs accept only the shapes of the SavedModel's placeholders. If
            not, the export tries which other shapes TensorFlow answers; see declared_shapes.
        version: Number of the version; by default the next number.
        class_names: Names of the classes in the order of the scores; by default those of the
            folders in `test_data`. If the first signature takes pictures, the version also gets a
            signature `classify`; see picture_signature.
        scores_output: Output with the scores; see scores.find.
        test_data: An .npz file or a folder of pictures for the first signature; see labelled_data.
            Both models must also agree on it, and the version records accuracy and answers.
        precisions: Precisions to publish; others than fp32 need test data. A variant that the gate
            refuses is left out. Without fp32 the version has neither model.onnx nor the SavedModel.
        keras_file: The `.keras` file that the SavedModel was written from; None if there is none.

    Raises:
        ExportError: the SavedModel cannot be read or converted, class names or test data do not
            fit it, or the version cannot be written.
        GateFailed: ONNX Runtime's answers differ from TensorFlow's; nothing is published.
    """
    read = saved_model.read_signatures(source, wanted)
    own = own_test_data.read(
        read,
        test_data=test_data,
        class_names=class_names,
        scores_output=scores_output,
        precisions=precisions,
    )
    class_names = own.class_names
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
        with step(f"copying {keras_file or source}"):
            saved_model.copy(source, folder)
        with SessionProcess(folder) as reference:
            with (
                step(f"converting {len(read)} signatures to ONNX"),
                failures.told(f"{source} cannot be converted to ONNX"),
            ):
                signatures = to_onnx.write(
                    folder,
                    read,
                    model_name=name,
                    class_names=tuple(class_names),
                    reference=None if keep_shapes else reference,
                )
            own_test_data.check_one_graph(signatures, precisions)
            with (
                step("comparing both on random inputs"),
                failures.told(f"the graph made of {source} cannot be compared with TensorFlow"),
            ):
                findings = random_inputs.check(
                    reference, folder, signatures, free_size=free_size, asked=asked
                )
            parity = {"inputs": "random", "seed": random_inputs.SEED, "outputs": findings}
            sections: dict[str, Any] = {}
            if own.data is not None:
                signature = next(iter(signatures.values()))
                onnx_file = folder / signature.file
                with step(f"comparing both on the test data, {len(own.data):,} rows"):
                    graph = onnx_file.read_bytes()
                    found = data_parity.check(reference, graph, signature, own.data, own.scores)
                parity["test_data"] = found.section
                if found.scores is not None:
                    sections = own_test_data.sections(
                        own, onnx_file, signature, found.scores, precisions
                    )
        files = sorted({signature.file for signature in signatures.values()})
        first = folder / model_folder.ONNX_FILE
        asked.extend(_add_classify(folder, signatures, class_names, own.scores))
        metrics.update(
            model=name,
            **({"class_names": list(class_names)} if class_names else {}),
            **({"source": _source_section(keras_file)} if keras_file else {}),
            files=[
                graph_files.file_section(folder / file)
                for file in files
                if not sections or file != first.name
            ],
            **sections,
            parity=parity,
            export=version_metrics.export_section(first, signatures),
        )
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(folder, signatures)
        with (
            step("sending concurrent requests to the served model"),
            failures.told(f"the version made of {source} cannot be served"),
        ):
            metrics["parity"]["served"] = company.check(folder, signatures, asked)
        if FP32 not in precisions:
            if not metrics["variants"]:
                refused = all_refused(metrics["rejected_variants"], f"pass --precision {FP32}")
                raise GateFailed(refused)
            first.unlink()
            saved_model.remove(folder)
            signatures = rows.with_verdicts(folder, signatures)
        papers.write(folder, signatures, metrics, class_names=tuple(class_names))

    return PublishedVersion(path=publish(models_dir, name, write, version=version), metrics=metrics)


def _source_section(keras_file: Path) -> dict[str, Any]:
    return {"kind": "keras", **graph_files.file_section(keras_file)}


def _add_classify(
    folder: Path,
    signatures: dict[str, "Signature"],
    class_names: Sequence[str],
    output: str | None,
) -> list[Asked]:
    """Add the signature `classify` to the signatures, if the first of them takes pictures.

    Args:
        folder: Folder of the graphs.
        signatures: The signatures by name; changed in place.
        class_names: Class names; without any, nothing is added.
        output: Output of the first signature with the scores; None if it has none.

    Returns:
        Requests to the new signature with the expected answers; empty if there is none.
    """
    if not class_names or output is None or picture_signature.NAME in signatures:
        return []
    classify = picture_signature.make(next(iter(signatures.values())), class_names, output)
    if classify is None:
        return []
    _log.info("signature %s takes PNG and JPEG files", picture_signature.NAME)
    signatures[picture_signature.NAME] = classify
    return picture_signature.questions((folder / classify.file).read_bytes(), classify)
