"""Judge the variants of a model that was trained here on images that its training held out.

The result is the section `held_out` of metrics.json::

    images, drawn_from, validation, seed, sha256    of the held-out images: number, origin, settings
                of the training that select them, SHA-256 of pixels and labels
    reference   precision that the variants were compared with: fp32, or another one if the version
                no longer has fp32
    predictions its answer to each held-out image, see training.evaluation.predictions
    variants    by precision: n, correct, top1, top1_wilson_95; of all but the reference also
                agreement, drop_points, drop_interval_95 (see gates.precision) and objections, empty
                if the variant is within the limits. n and the figures of int8 are about the images
                that did not calibrate it
    versions, git_commit, finished_utc
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from export.gates import answers
from export.gates.precision import LIMITS, objections
from export.papers import graph_files
from export.precisions import calibration
from export.precisions.judged_rows import ComparedRows, HeldOutRows
from export.precisions.make import INT8, Variants, ask, make
from export.sources.held_out import HeldOut
from serving.repository import model_folder
from serving.repository.model_folder import ModelFolder, Precision
from training.data.cifar10 import Split
from training.evaluation import predictions
from training.evaluation.provenance import package_commit

SECTION = "held_out"
_NO_IMAGES = (
    "cannot be judged: the training held out no images (validation test); train it with "
    "--validation stratified"
)


@dataclass(frozen=True, kw_only=True)
class ReferenceAnswers:
    """The model that variants are compared with.

    Attributes:
        precision: Its precision.
        classes: The class that it gives each of the n held-out images, int64, shape (n,).
    """

    precision: Precision
    classes: npt.NDArray[np.int64]


def asked(file: Path, precision: Precision, held_out: HeldOut) -> ReferenceAnswers:
    """Ask a graph about the held-out images."""
    given = answers.of_onnx(file, held_out.split.images, precision)
    return ReferenceAnswers(precision=precision, classes=given.classes)


def recorded(metrics: Mapping[str, Any], held_out: HeldOut) -> ReferenceAnswers | None:
    """Return the reference that a version records; None if it records none for these images."""
    known = metrics.get(SECTION) or {}
    if known.get("sha256") != held_out.split.sha256():
        return None
    return ReferenceAnswers(
        precision=known["reference"], classes=predictions.decode(known["predictions"])
    )


def make_judged(
    fp32_file: Path,
    wanted: Sequence[Precision],
    *,
    held_out: HeldOut | None,
    reference: ReferenceAnswers | None,
    reported: ComparedRows,
) -> Variants:
    """Write variants beside the float32 graph, judge them on held-out images, report the kept ones.

    Args:
        fp32_file: `model.onnx` in the folder of an unpublished version.
        wanted: Precisions other than fp32.
        held_out: The images that decide; None if the training held out none. Then all variants are
            refused. 50 or more of them, a fifth, calibrate int8 and do not judge it; int8 is
            refused if there are fewer than 100.
        reference: The model to compare with; None only if `held_out` is.
        reported: The test images, which decide nothing.
    """
    refused: dict[Precision, str] = {}
    if held_out is None or reference is None:
        refused = dict.fromkeys(wanted, _NO_IMAGES)
    elif not calibration.is_enough(len(held_out.split)):
        refused[INT8] = (
            f"cannot be calibrated: the training held out {len(held_out.split)} images, expected "
            f"at least {calibration.FEWEST}"
        )
    judged = [precision for precision in wanted if precision not in refused]
    outcome = Variants()
    if held_out and reference and judged:
        drawn = calibration.draw_images(held_out.split) if INT8 in judged else None
        rows = HeldOutRows(split=held_out.split, rest=drawn.rest if drawn else None)
        outcome = make(
            fp32_file,
            judged,
            judged=ComparedRows(
                rows=rows, classes=reference.classes, reference=reference.precision
            ),
            reported=reported,
            calibration=drawn,
        )
    for precision in wanted:
        if precision in refused:
            file = model_folder.variant_file(fp32_file.name, precision)
            outcome.refuse(precision, file, [refused[precision]])
    return outcome


def section(
    held_out: HeldOut, reference: ReferenceAnswers, entries: Mapping[Precision, Mapping[str, Any]]
) -> dict[str, Any]:
    """The section `held_out` of metrics.json.

    Args:
        held_out: The images.
        reference: The model that the variants were compared with.
        entries: Entries of the judged variants by precision.
    """
    rows = HeldOutRows(split=held_out.split)
    own = rows.given(reference.classes, reference.precision).section
    found: dict[Precision, Any] = {**entries, reference.precision: own}
    return {
        **held_out.as_dict(),
        "reference": reference.precision,
        "predictions": predictions.encode(reference.classes, held_out.classes),
        "variants": {name: found[name] for name in model_folder.PRECISIONS if name in found},
        "versions": graph_files.versions("numpy", "onnxruntime"),
        "git_commit": package_commit(__name__),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def judge(folder: ModelFolder, metrics: Mapping[str, Any], held_out: HeldOut) -> dict[str, Any]:
    """Judge the variants of a published version, as an export does, but without timing them.

    They are compared with the recorded answers of the float32 model, or with those of its graph. If
    the version has neither, the variant with the most precise weights stands in for it.

    Args:
        folder: The version.
        metrics: Content of the version's metrics.json.
        held_out: The images that its training held out.

    Returns:
        The section `held_out` of metrics.json.

    Raises:
        ExportError: the images that calibrated int8 are not known.
    """
    files = {
        precision: folder.path / metrics["variants"][precision]["file"]
        for precision in model_folder.PRECISIONS
        if precision in metrics["variants"]
    }
    rest = _not_calibrating(folder, metrics, held_out)
    reference = recorded(metrics, held_out)
    if reference is None:
        precision, file = next(iter(files.items()))
        reference = asked(file, precision, held_out)
    judged = ComparedRows(
        rows=HeldOutRows(split=held_out.split, rest=rest),
        classes=reference.classes,
        reference=reference.precision,
    )
    entries: dict[Precision, dict[str, Any]] = {}
    for precision, file in files.items():
        if precision == reference.precision:
            continue
        entry, comparison = ask(file, precision, judged, "judging")
        found = objections(LIMITS[precision], comparison, reference=reference.precision)
        entries[precision] = {**entry, "objections": found}
    return section(held_out, reference, entries)


def _not_calibrating(
    folder: ModelFolder, metrics: Mapping[str, Any], held_out: HeldOut
) -> npt.NDArray[np.int64] | None:
    """Positions of the held-out images that did not calibrate int8; None without calibration.

    Versions of earlier programs were calibrated with images drawn from all training images.
    """
    known = metrics["variants"].get(INT8, {}).get("calibration")
    if known is None:
        return None
    pools = (
        (held_out.split, np.arange(len(held_out.split))),
        (held_out.training, held_out.positions),
    )
    for pool, positions in pools:
        drawn = calibration.positions(len(pool), known["images"], known["seed"])
        split = Split(images=pool.images[drawn], labels=pool.labels[drawn])
        if split.sha256() == known.get("sha256"):
            return np.flatnonzero(~np.isin(positions, drawn))
    msg = (
        f"{folder.path} records that {known['images']} images with SHA-256 {known.get('sha256')} "
        f"calibrated {INT8}, and they are not among its training images; export the model again"
    )
    raise ExportError(msg)
