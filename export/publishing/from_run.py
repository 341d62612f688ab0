"""Publish a trained model: write the files of its next version and compare their answers.

    run folder ─▶ SavedModel ─▶ ONNX ─▶ parity gate ─▶ variants ─▶ documents ─▶ <name>/<N>/

If a step fails, no version appears.

Training images that the training held out decide which variants are published. The test images only
check that the conversions are correct, which chooses nothing, and measure the reported accuracy.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.convert import classify_signature, to_onnx, to_saved_model
from export.errors import GateFailed
from export.gates import answers, parity, rows
from export.gates.answers import Answers
from export.papers import papers, version_metrics
from export.precisions import held_out_gate
from export.precisions.judged_rows import ComparedRows, SplitRows
from export.precisions.make import FP32, Variants
from export.publishing import checked_images
from export.publishing.new_version import PublishedVersion, all_refused, publish, step
from export.sources import saved_model, training_run
from export.sources.training_run import TrainingRun
from serving.repository import model_folder
from serving.repository.model_folder import Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

_PICTURES_LIMIT_BYTES = 200_000
# Share of images whose class may differ between a training's GPU and the gate's CPU. A GPU computes
# in TensorFloat-32, for which an agreement of at least 99.9 % was measured.
_GPU_SLACK = 0.001
_log = logging.getLogger("export")


def publish_run(
    run_dir: Path,
    models_dir: Path,
    *,
    name: str | None = None,
    data_dir: Path | None = None,
    precisions: Sequence[Precision] = (FP32,),
) -> PublishedVersion:
    """Publish a trained model after the gate has compared all artefacts on the test images.

    Args:
        run_dir: A finished run of `python -m training`.
        models_dir: The version becomes `<models_dir>/<name>/<N>/`.
        name: Name of the model; by default the run's architecture.
        data_dir: See training.sources.opening.find. Must hold the test images of the run, and for
            precisions other than fp32 also its training images.
        precisions: Precisions to publish. A variant that the gate refuses is left out; if the
            training held out no images (validation test), these are all but fp32. Without fp32 the
            version has neither model.onnx nor the SavedModel: they are made, compared and removed.

    Raises:
        ExportError: the run or the data cannot be used, or the version cannot be written.
        GateFailed: an artefact's answers differ from the trained model's, or the gate refused all
            requested variants; nothing is published.
    """
    run = training_run.read(run_dir)
    split = checked_images.read(
        data_dir,
        "test",
        sha256=run.metrics["data"].get("test_sha256", "unknown"),
        used_by=run.path,
        training=run.metrics,
    )
    names, is_of_pictures = run.class_names, training_run.is_of_pictures(run.metrics)
    others = [precision for precision in precisions if precision != FP32]
    held_out = None
    if others:
        held_out = checked_images.read_held_out(data_dir, run.metrics, used_by=run.path)
    with step(f"loading {run.model_file}"):
        model = to_saved_model.load_keras(run.model_file)
    name = name or run.model_name
    metrics: dict[str, Any] = {}

    def write(folder: Path) -> None:
        with step("writing the SavedModel"):
            to_saved_model.write(model, folder, names)
        signatures = saved_model.read_signatures(folder, [DEFAULT_SIGNATURE_NAME])
        with step("converting it to ONNX"):
            to_onnx.write(folder, signatures, model_name=name, class_names=names)
        classify = classify_signature.read(
            folder, signatures[DEFAULT_SIGNATURE_NAME], names, upright=is_of_pictures
        )
        signatures[classify_signature.NAME] = classify
        onnx_file = folder / model_folder.ONNX_FILE
        with step(f"asking Keras about {len(split):,} test images"):
            keras_answers = answers.of_keras(model, split.images)
        with step("asking the SavedModel"):
            saved_model_answers = answers.of_saved_model(folder, split.images)
        with step("asking ONNX Runtime"):
            onnx_answers = answers.of_onnx(onnx_file, split.images)
        pairs = parity.check([keras_answers, saved_model_answers, onnx_answers], names)
        check_accuracy(run, onnx_answers, split.labels)
        with step("asking the SavedModel about pictures in tf.Examples"):
            examples = classify_signature.check(folder, classify, split.images, onnx_answers)
        made, judged = Variants(), {}
        if others:
            with step(f"making and judging {', '.join(others)}"):
                reference = held_out_gate.asked(onnx_file, FP32, held_out) if held_out else None
                made = held_out_gate.make_judged(
                    onnx_file,
                    others,
                    held_out=held_out,
                    reference=reference,
                    reported=ComparedRows(
                        rows=SplitRows(split=split, class_names=names),
                        classes=onnx_answers.classes,
                    ),
                )
            if held_out and reference:
                found = held_out_gate.section(held_out, reference, made.held_out)
                judged[held_out_gate.SECTION] = found
        fp32 = version_metrics.variant_section(onnx_file, onnx_answers, split.labels, names)
        metrics.update(
            model=name,
            parameters=model.count_params(),
            class_names=list(names),
            data=version_metrics.data_section(split, str(run.metrics["data"]["variant"])),
            **made.sections(fp32, with_fp32=FP32 in precisions),
            **judged,
            parity={**version_metrics.parity_section(pairs), classify_signature.NAME: examples},
            training=run.training_section(),
            export=version_metrics.export_section(onnx_file, signatures),
        )
        if FP32 not in precisions:
            _remove_float32(folder)
        if not metrics["variants"]:
            raise GateFailed(all_refused(metrics["rejected_variants"], f"pass --precision {FP32}"))
        _copy_pictures(run, folder)
        with step("proving that rows are independent"):
            signatures = rows.with_verdicts(folder, signatures)
        papers.write(folder, signatures, metrics, class_names=names)

    return PublishedVersion(path=publish(models_dir, name, write), metrics=metrics)


def check_accuracy(run: TrainingRun, onnx: Answers, labels: npt.NDArray[np.int64]) -> None:
    """Compare the number of correct answers with the number that the training recorded.

    The numbers may differ by the number of ties. If the training evaluated the model on a GPU, they
    may differ by another 0.1 % of the images.

    Raises:
        GateFailed: the numbers differ by more.
    """
    correct = int((onnx.classes == labels).sum())
    slack = int(parity.tied(onnx.logits).sum())
    if not run.was_float32_on_cpu:
        slack += int(_GPU_SLACK * len(labels))
    if abs(correct - run.correct) > slack:
        msg = (
            f"accuracy gate: model.onnx classifies {correct:,} of {len(labels):,} test images "
            f"correctly, {run.path / 'metrics.json'} says {run.correct:,} (may differ by {slack}); "
            "model.keras and metrics.json are not of the same training: train again; nothing was "
            "published"
        )
        raise GateFailed(msg)


def _remove_float32(folder: Path) -> None:
    """Remove model.onnx and the SavedModel, which hold the weights in float32."""
    (folder / model_folder.ONNX_FILE).unlink()
    saved_model.remove(folder)


def _copy_pictures(run: TrainingRun, folder: Path) -> None:
    pictures = [run.path / name for name in training_run.PICTURES if (run.path / name).is_file()]
    size = sum(picture.stat().st_size for picture in pictures)
    if size > _PICTURES_LIMIT_BYTES:
        _log.info("pictures left out: %d bytes, the limit is %d", size, _PICTURES_LIMIT_BYTES)
        return
    for picture in pictures:
        shutil.copyfile(picture, folder / picture.name)
