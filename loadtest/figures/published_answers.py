"""The accuracy and predictions that were recorded when a model was published."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.figures.agreement import RecordedClasses
from loadtest.rows.dataset import Dataset
from training import schemas
from training.evaluation import predictions


@dataclass(frozen=True, kw_only=True)
class Record:
    """The entry of one precision in a version's metrics.json.

    Attributes:
        version: Model version.
        precision: Name of the precision, such as "fp32".
        file: Name of the model file; None if the record has none.
        sha256: SHA-256 of the model file; None if the record has none.
        bytes: Size of the model file; None if the record has none.
        top1: Share of all test images classified correctly, 0 to 1.
        n: Number of test images.
        same_images: Whether the record is about the same images (by SHA-256).
        data_variant: Recorded layout of the data, such as "cifar-10-binary"; None if the record is
            about other images.
        predictions: Recorded class of each image; None if the record is about other images or has
            no predictions.
    """

    version: int
    precision: str
    file: str | None
    sha256: str | None
    bytes: int | None
    top1: float
    n: int
    same_images: bool
    data_variant: str | None
    predictions: RecordedClasses | None


def read(
    models_dir: Path, model: str, version: int, precision: str | None, dataset: Dataset
) -> Record | str:
    """Read `<models_dir>/<model>/<version>/metrics.json`.

    Args:
        models_dir: The model folder that is served.
        model: Model name.
        version: The version that answered.
        precision: Precision of the graph that answered; None if only one is recorded.
        dataset: The test images.

    Returns:
        The record, or the reason why there is none.
    """
    path = models_dir / model / str(version) / "metrics.json"
    try:
        metrics = schemas.METRICS.body(json.loads(path.read_text(encoding="utf-8")), path)
        variants = metrics["variants"]
        if precision is None:
            if len(variants) > 1:
                return (
                    f"{path} records {', '.join(sorted(variants))}; "
                    "name the one that the server runs with --precision"
                )
            precision = next(iter(variants))
        elif precision not in variants:
            return f"{path} records {', '.join(sorted(variants))}, not {precision}"
        return _record(metrics["data"], variants[precision], version, precision, dataset)
    except schemas.SchemaError as error:
        return str(error)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        return f"no recorded accuracy in {path}: {type(error).__name__}: {error}"


def _record(
    data: dict[str, Any], variant: dict[str, Any], version: int, precision: str, dataset: Dataset
) -> Record:
    same_images = data["sha256"] == dataset.sha256()
    digits = variant.get("predictions")
    recorded = None
    if same_images and digits is not None and len(digits) == len(dataset):
        ties = variant.get("near_ties")
        recorded = RecordedClasses(
            predictions.decode(digits),
            None if ties is None else predictions.decode_near_ties(ties, len(dataset)),
            None if ties is None else float(ties["margin"]),
        )
    return Record(
        version=version,
        precision=precision,
        file=variant.get("file"),
        sha256=variant.get("sha256"),
        bytes=variant.get("bytes"),
        top1=float(variant["top1"]),
        n=int(variant["n"]),
        same_images=same_images,
        data_variant=str(data["variant"]) if same_images else None,
        predictions=recorded,
    )
