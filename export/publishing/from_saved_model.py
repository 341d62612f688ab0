"""Publish a SavedModel that was made elsewhere: convert its signatures, compare the answers.

    SavedModel ─▶ ONNX ─▶ random inputs and test data to both ─▶ variants ─▶ concurrent requests
    ─▶ documents ─▶ <name>/<N>/

If a step fails, no version appears.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
    saved_model.check_readable(source)
    making = _Making(
        source=source,
        name=name,
        read=read,
        own=own,
        free_size=free_size,
        keep_shapes=keep_shapes,
        precisions=precisions,
        keras_file=keras_file,
    )
    path = publish(models_dir, name, making.write, version=version)
    return PublishedVersion(path=path, metrics=making.metrics)


@dataclass(frozen=True, kw_only=True)
class _Making:
    """The steps of a version; see `publish_saved_model` for the attributes.

    Attributes:
        read: The signatures to publish, by name.
        own: Test data and class names.
        metrics: Content of metrics.json, filled by `write`.
    """

    source: Path
    name: str
    read: "Mapping[str, Signature]"
    own: own_test_data.OwnTestData
    free_size: int | None
    keep_shapes: bool
    precisions: Sequence[Precision]
    keras_file: Path | None
    metrics: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write all files of the version; errors name the source instead of the copy."""
        try:
            self._make(folder)
        except ExportError as error:  # the copy is deleted after an error
            if str(folder) not in str(error):
                raise
            raise type(error)(str(error).replace(str(folder), str(self.source))) from error

    def _make(self, folder: Path) -> None:
        class_names = self.own.class_names
        asked: list[Asked] = []
        with step(f"copying {self.keras_file or self.source}"):
            saved_model.copy(self.source, folder)
        with SessionProcess(folder) as reference:
            signatures = self._convert(folder, reference)
            parity, sections = self._compare(folder, reference, signatures, asked)
        asked.extend(_add_classify(folder, signatures, class_names, self.own.scores))
        self._record(folder, signatures, parity, sections)
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(folder, signatures)
        with (
            step("sending concurrent requests to the served model"),
            failures.told(f"the version made of {self.source} cannot be served"),
        ):
            self.metrics["parity"]["served"] = company.check(folder, signatures, asked)
        if FP32 not in self.precisions:
            signatures = self._without_fp32(folder, signatures)
        papers.write(folder, signatures, self.metrics, class_names=tuple(class_names))

    def _convert(self, folder: Path, reference: SessionProcess) -> "dict[str, Signature]":
        """Write the graphs, and return the signatures that they have."""
        with (
            step(f"converting {len(self.read)} signatures to ONNX"),
            failures.told(f"{self.source} cannot be converted to ONNX"),
        ):
            signatures = to_onnx.write(
                folder,
                self.read,
                model_name=self.name,
                class_names=tuple(self.own.class_names),
                reference=None if self.keep_shapes else reference,
            )
        own_test_data.check_one_graph(signatures, self.precisions)
        return signatures

    def _compare(
        self,
        folder: Path,
        reference: SessionProcess,
        signatures: "dict[str, Signature]",
        asked: list[Asked],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compare both models on random inputs and on the test data.

        Returns:
            The section "parity" of metrics.json, and the sections of the test data; the latter are
            empty without scores. The questions are added to `asked`.
        """
        with (
            step("comparing both on random inputs"),
            failures.told(f"the graph made of {self.source} cannot be compared with TensorFlow"),
        ):
            findings = random_inputs.check(
                reference, folder, signatures, free_size=self.free_size, asked=asked
            )
        parity = {"inputs": "random", "seed": random_inputs.SEED, "outputs": findings}
        own = self.own
        if own.data is None:
            return parity, {}
        signature = next(iter(signatures.values()))
        onnx_file = folder / signature.file
        with step(f"comparing both on the test data, {len(own.data):,} rows"):
            graph = onnx_file.read_bytes()
            found = data_parity.check(reference, graph, signature, own.data, own.scores)
        parity["test_data"] = found.section
        if found.scores is None:
            return parity, {}
        return parity, own_test_data.sections(
            own, onnx_file, signature, found.scores, self.precisions
        )

    def _record(
        self,
        folder: Path,
        signatures: "dict[str, Signature]",
        parity: dict[str, Any],
        sections: dict[str, Any],
    ) -> None:
        """Fill metrics.json."""
        files = sorted({signature.file for signature in signatures.values()})
        first = folder / model_folder.ONNX_FILE
        names, keras_file = self.own.class_names, self.keras_file
        self.metrics.update(
            model=self.name,
            **({"class_names": list(names)} if names else {}),
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

    def _without_fp32(
        self, folder: Path, signatures: "dict[str, Signature]"
    ) -> "dict[str, Signature]":
        """Remove model.onnx and the SavedModel; return the signatures of the other precisions.

        Raises:
            GateFailed: the gate refused all other precisions.
        """
        if not self.metrics["variants"]:
            way_out = f"pass --precision {FP32}"
            raise GateFailed(all_refused(self.metrics["rejected_variants"], way_out))
        (folder / model_folder.ONNX_FILE).unlink()
        saved_model.remove(folder)
        return rows.with_verdicts(folder, signatures)


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
