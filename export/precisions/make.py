"""Make the variants of a model from its float32 graph, judge them, and report their accuracy.

    model.onnx ─▶ fp16, w8, int8 ─▶ answers ─▶ gates.precision ─▶ kept, then reported, or removed

If the gate refuses a variant, the other variants are still published.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from export import progress
from export.failures import reason
from export.gates.precision import LIMITS, Comparison, compare, objections, too_slow
from export.measure import speed
from export.papers import graph_files
from export.precisions import fp16, int8, w8
from export.precisions.calibration import Calibration
from export.precisions.judged_rows import ComparedRows
from serving.repository import model_folder
from serving.repository.model_folder import Precision

FP32: Precision = "fp32"
INT8: Precision = "int8"
SAME_ROWS = "the same rows"

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
        held_out: Entries for the section `held_out` of metrics.json by precision, of all variants
            that were judged; empty if the judged rows are reported.
    """

    kept: dict[Precision, dict[str, Any]] = field(default_factory=dict)
    rejected: dict[Precision, dict[str, Any]] = field(default_factory=dict)
    held_out: dict[Precision, dict[str, Any]] = field(default_factory=dict)

    def refuse(
        self,
        precision: Precision,
        file: str,
        objections: Sequence[str],
        section: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a variant that is not published, and log why."""
        self.rejected[precision] = {"objections": list(objections), **(section or {})}
        _log.info("%s is not published: it %s", file, "; it ".join(objections))

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
    judged: ComparedRows,
    reported: ComparedRows | None = None,
    calibration: Calibration | None = None,
) -> Variants:
    """Write the variants beside the float32 graph and judge them.

    Args:
        fp32_file: `model.onnx` in the folder of an unpublished version.
        wanted: Precisions other than fp32.
        judged: The rows that decide about the variants.
        reported: The rows that the accuracy of the kept variants is reported on; they decide
            nothing. None if the judged rows are reported, for want of others.
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
            outcome.refuse(precision, file.name, [objection])
            continue
        decision = _judge(fp32_file, file, precision, judged)
        refused = decision.objections
        if reported is None:
            section = {**decision.section, "judged_on": SAME_ROWS}
        else:
            outcome.held_out[precision] = {**decision.section, "objections": refused}
            # A refused variant is not asked about rows that are only reported.
            section = (
                graph_files.file_section(file)
                if refused
                else ask(file, precision, reported, "reporting")[0]
            )
        section |= decision.speed
        if precision == INT8 and calibration:
            section["calibration"] = calibration.as_dict()
        if refused:
            file.unlink()
            del section["file"]
            outcome.refuse(precision, file.name, refused, section)
        else:
            outcome.kept[precision] = section
            summary = _summary(decision, judged.reference, section["bytes"])
            _log.info("%s: %s", file.name, summary)
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


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """What the gate found about a variant.

    Attributes:
        section: The accuracy on the judged rows, and the comparison with float32.
        objections: The limits that the variant breaks; empty if it may be published.
        speed: The section `speed`, if the speed was measured.
    """

    section: dict[str, Any]
    objections: list[str]
    speed: dict[str, Any]


def _judge(fp32_file: Path, file: Path, precision: Precision, judged: ComparedRows) -> _Decision:
    limits = LIMITS[precision]
    section, comparison = ask(file, precision, judged, "judging")
    found = objections(limits, comparison, reference=judged.reference)
    timed: dict[str, Any] = {}
    if limits.must_be_faster and not found:
        progress.part(f"timing {file.name} and {fp32_file.name}")
        measured = speed.measure(fp32_file, file, precision, judged.rows.timed())
        timed["speed"] = measured.as_dict()
        found += too_slow(measured.speedup)
    return _Decision(section=section, objections=found, speed=timed)


def ask(
    file: Path, precision: Precision, answered: ComparedRows, purpose: str
) -> tuple[dict[str, Any], Comparison]:
    """Ask a variant about rows.

    Args:
        file: The variant's graph.
        precision: Its precision.
        answered: The rows, with the answers of the model to compare with.
        purpose: A word for the progress, such as "judging".

    Returns:
        The variant's entry for metrics.json with its accuracy and the comparison, and the latter.
    """
    progress.part(f"{purpose} {file.name}")
    given = answered.rows.ask(file, precision)
    rows = given.rows
    labels = answered.rows.labels
    comparison = compare(
        answered.classes[rows],
        given.classes[rows],
        None if labels is None else labels[rows],
    )
    return {**given.section, **comparison.as_dict()}, comparison


def _summary(decision: _Decision, reference: Precision, size: int) -> str:
    section = decision.section
    text = f"{section['agreement']:.2%} same class as {reference}, "
    if "drop_points" in section:
        low, high = section["drop_interval_95"]
        text = (
            f"{section['top1']:.2%} correct, {text}loses {section['drop_points']:.2f} points "
            f"(95 % interval {low:.2f} to {high:.2f}), "
        )
    text += f"{section['n']:,} rows judged it, {size / 1e6:.2f} MB"
    for batch, times in decision.speed.get("speed", {}).get("batches", {}).items():
        text += f", {times['speedup']:.2f} times as fast as fp32 at batch {batch}"
    return text
