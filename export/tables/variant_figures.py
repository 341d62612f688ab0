"""The figures of a version's variants, read from its metrics.json; unknown figures are None."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_JPEG = "jpeg_75"


@dataclass(frozen=True, kw_only=True)
class BatchSpeed:
    """The speed at one batch size of the benchmark.

    Attributes:
        rows: Images in a batch.
        ms: Milliseconds a batch.
        images_per_second: Images a second.
        cpu_ms: Milliseconds of CPU time an image.
        to_tensorflow: Speed as a multiple of TensorFlow's; None if TensorFlow was not measured.
    """

    rows: int
    ms: float
    images_per_second: float
    cpu_ms: float
    to_tensorflow: float | None


@dataclass(frozen=True, kw_only=True)
class VariantFigures:
    """The figures of one ONNX file.

    Attributes:
        model: Name of the model.
        version: Folder of the version.
        precision: "fp32", "w8", ...
        parameters: Number of parameters of the model.
        bytes: Size of the file in bytes.
        n: Number of test images.
        top1: Share of the test images that the file classifies correctly, 0 to 1.
        top1_interval: 95 % interval of `top1`.
        agreement: Share of the test images with the float32 file's class, 0 to 1.
        held_out: Share of the held-out training images that the file classifies correctly, 0 to 1;
            accuracies are ranked by it. It is the reference's share minus the points lost against
            it, because int8 has fewer images than the others: some have calibrated it.
        speeds: Speeds by batch size, in ascending order; empty if they were not measured.
        measured_on: Processor, cores and threads of the benchmark.
        jpeg: `top1` on the test images recompressed as JPEG of quality 75.
        jpeg_interval: 95 % interval of `jpeg`.
    """

    model: str
    version: Path
    precision: str
    parameters: int | None
    bytes: int | None
    n: int | None
    top1: float | None
    top1_interval: tuple[float, float] | None
    agreement: float | None
    held_out: float | None
    speeds: Mapping[int, BatchSpeed]
    measured_on: tuple[Any, ...] | None
    jpeg: float | None
    jpeg_interval: tuple[float, float] | None

    @property
    def title(self) -> str:
        """Model and precision: "`simcnn` fp32"."""
        return f"`{self.model}` {self.precision}"


def read(version: Path, metrics: Mapping[str, Any]) -> list[VariantFigures]:
    """The figures of the variants whose files are in a version's folder.

    Args:
        version: Folder of the version.
        metrics: Content of the version's metrics.json.
    """
    benchmark = metrics.get("benchmark") or {}
    results = benchmark.get("results") or {}
    checks = (metrics.get("robustness") or {}).get("checks") or {}
    jpeg = (checks.get(_JPEG) or {}).get("variants") or {}
    hardware = benchmark.get("hardware") or {}
    place = (hardware.get("cpu"), hardware.get("cores"), benchmark.get("threads"))
    return [
        VariantFigures(
            model=str(metrics.get("model", version.parent.name)),
            version=version,
            precision=precision,
            parameters=metrics.get("parameters"),
            bytes=entry.get("bytes"),
            n=entry.get("n"),
            top1=entry.get("top1"),
            top1_interval=entry.get("top1_wilson_95"),
            agreement=entry.get("agreement"),
            held_out=_held_out(metrics.get("held_out") or {}, precision),
            speeds=_speeds(results.get(precision) or {}),
            measured_on=place if results.get(precision) else None,
            jpeg=(jpeg.get(precision) or {}).get("top1"),
            jpeg_interval=(jpeg.get(precision) or {}).get("top1_wilson_95"),
        )
        for precision, entry in (metrics.get("variants") or {}).items()
        if (version / str(entry.get("file"))).is_file()
    ]


def _held_out(section: Mapping[str, Any], precision: str) -> float | None:
    variants = section.get("variants") or {}
    if precision not in variants:
        return None
    share: float = variants[section["reference"]]["top1"]
    return share - float(variants[precision].get("drop_points", 0)) / 100


def _speeds(result: Mapping[str, Any]) -> dict[int, BatchSpeed]:
    cells = {int(rows): cell for rows, cell in (result.get("batches") or {}).items()}
    return {
        rows: BatchSpeed(
            rows=rows,
            ms=cells[rows]["ms"],
            images_per_second=cells[rows]["images_per_second"],
            cpu_ms=cells[rows]["cpu_ms_per_image"],
            to_tensorflow=(cells[rows]["to_tensorflow"] or {}).get("median"),
        )
        for rows in sorted(cells)
    }
