"""Make the variants of a model from its float32 graph, run them on every test image, judge them.

    model.onnx ─▶ fp16, w8, int8 ─▶ answers ─▶ gates.precision ─▶ kept or removed

If the gate refuses a variant, the other variants are still published.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export import progress
from export.failures import reason
from export.gates.precision import LIMITS, compare, objections, too_slow
from export.measure import speed
from export.precisions import fp16, int8, w8
from export.precisions.calibration import Calibration
from export.precisions.judged_rows import JudgedRows
from serving.repository import model_folder
from serving.repository.model_folder import Precision

FP32: Precision = "fp32"
INT8: Precision = "int8"

# What the converters raise for graphs that they cannot convert; not TypeError, the error for a
# missing calibration.
_CANNOT_BE_MADE = (
    ArithmeticError,
    LookupError,
    RuntimeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)
_log = logging.getLogger("export")
# Precisions that need nothing but the float32 graph.
_MAKERS: Mapping[Precision, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp16": fp16.convert,
    "w8": w8.quantize,
}


@dataclass(frozen=True, kw_only=True)
class Variants:
    """The requested variants: those that passed the gate, and those that it refused.

    Attributes:
        kept: Entries for metrics.json by precision; the files are in the folder.
        rejected: Entries for metrics.json by precision, with `objections`; the files are removed.
    """

    kept: dict[Precision, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[Precision, dict[str, Any]] = field(default_factory=dict)

    def sections(self, fp32: Mapping[str, Any], *, with_fp32: bool) -> dict[str, Any]:
        """The sections of metrics.json: variants, and if they apply rejected_variants, reference.

        Args:
            fp32: Entry of version_metrics.variant_section for the float32 graph.
            with_fp32: Whether the float32 graph is published too.
        """
        published = {FP32: dict(fp32), **self.kept} if with_fp32 else dict(self.kept)
        sections: dict[str, Any] = {"variants": published}
        if self.rejected:
            sections["rejected_variants"] = dict(self.rejected)
        if not with_fp32:
            facts = {key: value for key, value in fp32.items() if key != "file"}
            sections["reference"] = {"precision": FP32, **facts}
        return sections


def make(
    fp32_file: Path,
    wanted: Sequence[Precision],
    *,
    test: JudgedRows,
    fp32_classes: npt.NDArray[np.int64],
    calibration: Calibration | None = None,
) -> Variants:
    """Write the variants beside the float32 graph and judge them.

    Args:
        fp32_file: `model.onnx` in the folder of an unpublished version.
        wanted: Precisions other than fp32.
        test: The n rows that judge the variants.
        fp32_classes: Classes that the float32 model names for these rows, int64, shape (n,).
        calibration: Calibration images; required if `wanted` has int8.

    Raises:
        TypeError: `wanted` has int8 and `calibration` is None.
    """
    outcome = Variants()
    for precision in wanted:
        file = fp32_file.with_name(model_folder.variant_file(fp32_file.name, precision))
        progress.part(f"making {file.name}")
        try:
            file.write_bytes(_content(onnx.load(fp32_file), precision, calibration))
        except _CANNOT_BE_MADE as error:
            objection = f"cannot be made of this graph ({type(error).__name__}: {reason(error)})"
            outcome.rejected[precision] = {"objections": [objection]}
            _log.info("%s is not published: it %s", file.name, objection)
            continue
        section, objections = _judge(
            fp32_file, file, precision, test=test, fp32_classes=fp32_classes
        )
        if precision == INT8 and calibration:
            section["calibration"] = calibration.as_dict()
        if objections:
            file.unlink()
            del section["file"]
            outcome.rejected[precision] = {"objections": objections, **section}
            _log.info("%s is not published: it %s", file.name, "; it ".join(objections))
        else:
            outcome.kept[precision] = section
            _log.info("%s: %s", file.name, _summary(section))
    return outcome


def _content(
    model: onnx.ModelProto, precision: Precision, calibration: Calibration | None
) -> bytes:
    if precision == INT8:
        if calibration is None:
            msg = "int8 needs images for its calibration"
            raise TypeError(msg)
        variant = int8.quantize(model, calibration.feeds)
    else:
        variant = _MAKERS[precision](model)
    # The converters set their own name as the producer.
    variant.producer_name, variant.producer_version = model.producer_name, model.producer_version
    content: bytes = variant.SerializeToString(deterministic=True)
    return content


def _judge(
    fp32_file: Path,
    file: Path,
    precision: Precision,
    *,
    test: JudgedRows,
    fp32_classes: npt.NDArray[np.int64],
) -> tuple[dict[str, Any], list[str]]:
    """The variant's entry for metrics.json, and the objections of the gate."""
    limits = LIMITS[precision]
    progress.part(f"asking {file.name}")
    given = test.ask(file, precision)
    rows = given.rows
    labels = None if test.labels is None else test.labels[rows]
    comparison = compare(fp32_classes[rows], given.classes[rows], labels)
    found = objections(limits, comparison)
    section = {**given.section, **comparison.as_dict()}
    if limits.must_be_faster and not found:
        progress.part(f"timing {file.name} and {fp32_file.name}")
        measured = speed.measure(fp32_file, file, precision, test.timed())
        section["speed"] = measured.as_dict()
        found += too_slow(measured.speedup)
    return section, found


def _summary(section: dict[str, Any]) -> str:
    text = f"{section['agreement']:.2%} same class as fp32, "
    if "drop_points" in section:
        low, high = section["drop_interval_95"]
        text = (
            f"{section['top1']:.2%} correct, {text}loses {section['drop_points']:.2f} points "
            f"(95 % interval {low:.2f} to {high:.2f}), "
        )
    text += f"{section['bytes'] / 1e6:.2f} MB"
    for batch, times in section.get("speed", {}).get("batches", {}).items():
        text += f", {times['speedup']:.2f} times as fast as fp32 at batch {batch}"
    return text
