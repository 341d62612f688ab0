"""Make more precisions of a published version, without its run folder.

    model.onnx, or model.w8.onnx in float32 ─▶ variants ─▶ documents ─▶ <name>/<N + 1>/

The new variants are compared with the recorded answers of the float32 model, like the earlier ones.
A version with only w8 no longer has the exact float32 weights, but metrics.json still has the
answers of the float32 model.
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
from export.precisions import w8
from export.precisions.calibration import Calibration
from export.precisions.judged_rows import JudgedRows, SplitRows
from export.precisions.make import FP32, INT8, Variants, make
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
        data_dir: See training.data.cifar10.load. Must hold the test images of a version that was
            trained here, and for int8 also its training images.
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
        judge = _judge_by_images(version, metrics, precisions, data_dir)
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
            made = make(
                fp32_file,
                precisions,
                test=judge.rows,
                fp32_classes=judge.fp32_classes,
                calibration=judge.calibration,
            )
            metrics.update(judge.sections(fp32_file))
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
    """With what the new variants are judged.

    Attributes:
        rows: The rows that all graphs answer.
        fp32_classes: The float32 model's classes for these rows, int64, shape (n,).
        calibration: The rows that calibrate int8; None without int8.
        sections: Function from the float32 graph's file to new sections of metrics.json: those that
            a version without recorded answers lacks.
    """

    rows: JudgedRows
    fp32_classes: npt.NDArray[np.int64]
    calibration: Calibration | None
    sections: Callable[[Path], Mapping[str, Any]] = lambda _: {}


def _judge_by_images(
    version: Path,
    metrics: Mapping[str, Any],
    precisions: Sequence[Precision],
    data_dir: Path | None,
) -> _Judge:
    """The images of a model that was trained here, with its recorded answers."""
    fp32_classes = _recorded(version, metrics)
    split = checked_images.read(data_dir, "test", sha256=metrics["data"]["sha256"], used_by=version)
    calibrated = None
    if INT8 in precisions:
        sha256 = metrics["training"]["data"].get("train_sha256")
        calibrated = checked_images.draw_calibration(data_dir, sha256=sha256, used_by=version)
    return _Judge(rows=SplitRows(split=split), fp32_classes=fp32_classes, calibration=calibrated)


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
    if "sha256" in known:
        classes = _recorded(folder.path, metrics)
        return _Judge(rows=rows, fp32_classes=classes, calibration=own.drawn)
    if source.name != model_folder.ONNX_FILE:
        msg = (
            f"{folder.path} records no answers of the float32 model and has no "
            f"{model_folder.ONNX_FILE} to ask; export the model again with --test-data"
        )
        raise ExportError(msg)
    with step(f"asking {source.name} about {len(own.data):,} rows"):
        given = rows.ask(source, FP32)
    data = own_test_data.data_section(own)

    def sections(file: Path) -> Mapping[str, Any]:
        return {"data": data, "variants": {FP32: {**given.section, "file": file.name}}}

    return _Judge(rows=rows, fp32_classes=given.classes, calibration=own.drawn, sections=sections)


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
