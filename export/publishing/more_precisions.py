"""Make more precisions of a published version, without its run folder.

    model.onnx, or model.w8.onnx in float32 ─▶ variants ─▶ documents ─▶ <name>/<N + 1>/

The new variants are compared with the recorded answers of the float32 model, like the earlier ones.
A version with only w8 no longer has the exact float32 weights, but metrics.json still has the
answers of the float32 model.
"""

import shutil
from collections.abc import Mapping, Sequence
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
from export.precisions.judged_rows import SplitRows
from export.precisions.make import FP32, INT8, Variants, make
from export.publishing import checked_images, new_version
from export.publishing.new_version import PublishedVersion, all_refused, step
from serving.repository import model_folder
from serving.repository.model_folder import ModelFolder, Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from training.data.cifar10 import CLASS_NAMES
from training.evaluation import predictions
from training.evaluation.provenance import package_commit

W8: Precision = "w8"


def publish(
    version: Path, models_dir: Path, *, precisions: Sequence[Precision], data_dir: Path | None
) -> PublishedVersion:
    """Publish the files of a version as a new version, with more precisions.

    The sections `benchmark` and `robustness` are dropped from metrics.json, because they describe
    the old set of files.

    Args:
        version: A published version with model.onnx or model.w8.onnx; it is not changed.
        models_dir: The new version becomes `<models_dir>/<name>/<N>/`.
        precisions: Precisions to make; those that the version already has are made again.
        data_dir: See training.data.cifar10.load. Must hold the test images of the version, and for
            int8 also its training images.

    Raises:
        ExportError: the version or the data cannot be used, or the version cannot be written.
        GateFailed: the gate refused all precisions; nothing is published.
    """
    folder, metrics = papers.read(version)
    source = _source(folder, precisions)
    fp32_classes = _recorded(version, metrics)
    split = checked_images.read(data_dir, "test", sha256=metrics["data"]["sha256"], used_by=version)
    calibrated = None
    if INT8 in precisions:
        sha256 = metrics["training"]["data"].get("train_sha256")
        calibrated = checked_images.draw_calibration(data_dir, sha256=sha256, used_by=version)

    def write(target: Path) -> None:
        _copy(version, target)
        fp32_file = target / model_folder.ONNX_FILE
        if source.name != fp32_file.name:
            onnx.save(w8.restore(onnx.load(source)), fp32_file)
        with step(f"making and judging {', '.join(precisions)}"):
            made = make(
                fp32_file,
                precisions,
                test=SplitRows(split=split),
                fp32_classes=fp32_classes,
                calibration=calibrated,
            )
        if source.name != fp32_file.name:
            fp32_file.unlink()
        if not made.kept:
            raise GateFailed(all_refused(made.rejected, f"serve {version} as it is"))
        _record(metrics, made, source)
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(target, folder.signatures)
        papers.write(target, signatures, metrics, class_names=CLASS_NAMES)

    return PublishedVersion(
        path=new_version.publish(models_dir, metrics["model"], write), metrics=metrics
    )


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
        "export the training again with all precisions"
    )
    raise ExportError(msg)


def _recorded(version: Path, metrics: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """The recorded classes of the float32 model for the test images, int64, shape (n,)."""
    recorded = metrics.get("variants", {}).get(FP32) or metrics.get("reference") or {}
    if "predictions" not in recorded:
        msg = (
            f"{version / model_folder.METRICS_FILE} does not record the float32 model's answers to "
            "the test images; pass a version that python -m export RUN_DIR has published"
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
