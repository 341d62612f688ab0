"""Make more precisions of a published version, without its run folder.

    model.onnx, or model.w8.onnx in float32 ─▶ variants ─▶ documents ─▶ <name>/<N + 1>/

The new variants are judged on training images that the training held out, or on the user's test
data if the model is from elsewhere, and compared with the recorded answers of the float32 model. A
version with only w8 no longer has the exact float32 weights, but metrics.json still has the answers
of the float32 model. If it lacks those to the held-out images, the answers of w8 stand in for them.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.errors import ExportError, GateFailed
from export.gates import rows
from export.measure import benchmark, robustness
from export.papers import papers
from export.precisions import held_out_gate, w8
from export.precisions.judged_rows import ComparedRows, SplitRows
from export.precisions.make import FP32, Variants, make
from export.publishing import checked_images, new_version, own_test_data
from export.publishing.new_version import PublishedVersion, all_refused, step
from serving.repository import model_folder
from serving.repository.model_folder import ModelFolder, Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, Signature
from training.evaluation import predictions
from training.evaluation.provenance import package_commit

W8: Precision = "w8"


def publish(
    version: Path,
    models_dir: Path,
    *,
    precisions: Sequence[Precision],
    data_dir: Path | None = None,
    test_data: Path | None = None,
    scores_output: str | None = None,
) -> PublishedVersion:
    """Publish the files of a version as a new version, with more precisions.

    The sections `benchmark` and `robustness` are dropped from metrics.json, because they describe
    the old set of files.

    Args:
        version: A published version with model.onnx or model.w8.onnx; it is not changed.
        models_dir: The new version becomes `<models_dir>/<name>/<N>/`.
        precisions: Precisions to make; those that the version already has are made again.
        data_dir: See training.sources.opening.find. Must hold the test images of a version that was
            trained here, and its training images.
        test_data: Test data of a version from elsewhere; see labelled_data.read. If the version
            recorded answers, they must be the answers to the same data.
        scores_output: Output with the scores of a version from elsewhere; see scores.find.

    Raises:
        ExportError: the version or the data cannot be used, or the version cannot be written.
        GateFailed: the gate refused all precisions; nothing is published.
    """
    folder, metrics = papers.read(version)
    source = _source(folder, precisions)
    if papers.was_trained_here(metrics):
        judge = _judge_by_images(version, metrics, precisions, source, data_dir)
    else:
        judge = _judge_by_test_data(
            folder,
            metrics,
            precisions,
            source,
            test_data=test_data,
            scores_output=scores_output,
        )

    def write(target: Path) -> None:
        _copy(version, target)
        fp32_file = target / model_folder.ONNX_FILE
        if source.name != fp32_file.name:
            onnx.save(w8.restore(onnx.load(source)), fp32_file)
        with step(f"making and judging {', '.join(precisions)}"):
            made = judge.make(fp32_file)
            metrics.update(judge.sections(made))
        if source.name != fp32_file.name:
            fp32_file.unlink()
        if not made.kept:
            raise GateFailed(all_refused(made.rejected, f"serve {version} as it is"))
        _record(metrics, made, source)
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(target, folder.signatures)
        papers.write(target, signatures, metrics, class_names=folder.class_names)

    return PublishedVersion(
        path=new_version.publish(models_dir, metrics["model"], write), metrics=metrics
    )


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """The way in which new variants are made and judged.

    Attributes:
        make: Function from the float32 graph's file to the variants beside it.
        sections: Function from these variants to new sections of metrics.json.
    """

    make: Callable[[Path], Variants]
    sections: Callable[[Variants], Mapping[str, Any]]


def _judge_by_images(
    version: Path,
    metrics: Mapping[str, Any],
    precisions: Sequence[Precision],
    source: Path,
    data_dir: Path | None,
) -> _Judge:
    """The images of a model that was trained here: held-out ones judge, test images report."""
    training = metrics["training"]
    test = checked_images.read(
        data_dir,
        "test",
        sha256=metrics["data"]["sha256"],
        used_by=version,
        training=training,
    )
    rows = SplitRows(split=test, class_names=metrics["class_names"])
    reported = ComparedRows(rows=rows, classes=_recorded(version, metrics))
    held_out = checked_images.read_held_out(data_dir, training, used_by=version)
    known: Mapping[Precision, Any] = {}
    reference = None
    if held_out:
        reference = held_out_gate.recorded(metrics, held_out)
        if reference:
            known = metrics[held_out_gate.SECTION]["variants"]
        else:
            with step(f"asking {source.name} about {len(held_out.split):,} held-out images"):
                precision = FP32 if source.name == model_folder.ONNX_FILE else W8
                reference = held_out_gate.asked(source, precision, held_out)

    def sections(made: Variants) -> Mapping[str, Any]:
        if held_out is None or reference is None:
            return {}
        entries = {**known, **made.held_out}
        return {held_out_gate.SECTION: held_out_gate.section(held_out, reference, entries)}

    return _Judge(
        make=lambda fp32_file: held_out_gate.make_judged(
            fp32_file, precisions, held_out=held_out, reference=reference, reported=reported
        ),
        sections=sections,
    )


def _judge_by_test_data(
    folder: ModelFolder,
    metrics: Mapping[str, Any],
    precisions: Sequence[Precision],
    source: Path,
    *,
    test_data: Path | None,
    scores_output: str | None,
) -> _Judge:
    """Test data of a model from elsewhere, with the recorded answers or those of its graph."""
    if test_data is None:
        msg = (
            f"{folder.path} was not trained here, so {', '.join(precisions)} would be judged on "
            "your test data; pass --test-data DIR or FILE.npz"
        )
        raise ExportError(msg)
    known = metrics.get("data") or {}
    own = own_test_data.read(
        {name: each for name, each in folder.signatures.items() if not each.feature_spec},
        test_data=test_data,
        class_names=folder.class_names,
        scores_output=scores_output or known.get("scores"),
        precisions=precisions,
    )
    if own.data is None or own.scores is None:  # `read` reads them for precisions besides fp32
        raise AssertionError(test_data)
    if "sha256" in known and own.data.sha256() != known["sha256"]:
        msg = (
            f"{test_data} has {len(own.data):,} rows with SHA-256 {own.data.sha256()}, but "
            f"{folder.path} was judged by {known['images']:,} with {known['sha256']}; pass the "
            f"test data {known['name']} of its publication"
        )
        raise ExportError(msg)
    rows = own_test_data.rows_of(own, _first(folder))
    new: dict[str, Any] = {}
    if "sha256" in known:
        classes = _recorded(folder.path, metrics)
    elif source.name == model_folder.ONNX_FILE:
        with step(f"asking {source.name} about {len(own.data):,} rows"):
            given = rows.ask(source, FP32)
        classes = given.classes
        new = {
            "data": own_test_data.data_section(own),
            "variants": {FP32: {**given.section, "file": model_folder.ONNX_FILE}},
        }
    else:
        msg = (
            f"{folder.path} records no answers of the float32 model and has no "
            f"{model_folder.ONNX_FILE} to ask; export the model again with --test-data"
        )
        raise ExportError(msg)
    return _Judge(
        make=lambda fp32_file: make(
            fp32_file,
            precisions,
            judged=ComparedRows(rows=rows, classes=classes),
            calibration=own.drawn,
        ),
        sections=lambda _: new,
    )


def _first(folder: ModelFolder) -> Signature:
    """The first signature that takes arrays, which the variants are judged by."""
    return next(each for each in folder.signatures.values() if not each.feature_spec)


def _source(folder: ModelFolder, precisions: Sequence[Precision]) -> Path:
    """The graph that the new precisions are made from: model.onnx, or otherwise model.w8.onnx."""
    signature = folder.signatures.get(DEFAULT_SIGNATURE_NAME)
    file = signature.file if signature else model_folder.ONNX_FILE
    names = [file] if W8 in precisions else [file, model_folder.variant_file(file, W8)]
    for name in names:
        if file == model_folder.ONNX_FILE and (folder.path / name).is_file():
            return folder.path / name
    msg = (
        f"{folder.path} has no {' and no '.join(names)} to make {', '.join(precisions)} from; "
        "export the model again with all precisions"
    )
    raise ExportError(msg)


def _recorded(version: Path, metrics: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """The recorded classes of the float32 model for the test images, int64, shape (n,)."""
    recorded = metrics.get("variants", {}).get(FP32) or metrics.get("reference") or {}
    if "predictions" not in recorded:
        msg = (
            f"{version / model_folder.METRICS_FILE} does not record the float32 model's answers to "
            "the test data; export the model again"
        )
        raise ExportError(msg)
    return predictions.decode(recorded["predictions"])


def _copy(version: Path, target: Path) -> None:
    """Copy a version's files, except the documents that are written again."""
    written = (model_folder.MANIFEST_FILE, model_folder.METRICS_FILE, model_folder.MODEL_CARD_FILE)
    shutil.copytree(
        version,
        target,
        dirs_exist_ok=True,
        ignore=lambda *_: written,
        copy_function=shutil.copyfile,
    )


def _record(metrics: dict[str, Any], made: Variants, source: Path) -> None:
    """Add the new precisions to metrics.json in the order of PRECISIONS; drop old measurements."""
    origin = {
        "made_from": source.name,
        "git_commit": package_commit(__name__),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, found in (("variants", made.kept), ("rejected_variants", made.rejected)):
        sections = {
            name: section
            for name, section in metrics.get(key, {}).items()
            if name not in made.kept and name not in made.rejected
        }
        sections |= {name: {**section, **origin} for name, section in found.items()}
        ordered = {name: sections[name] for name in model_folder.PRECISIONS if name in sections}
        metrics.pop(key, None)
        if ordered:
            metrics[key] = ordered
    for section in (benchmark.SECTION, robustness.SECTION):
        metrics.pop(section, None)
