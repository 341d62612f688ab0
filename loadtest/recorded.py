"""The accuracy recorded with a model when it was published, and how the served one compares."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.cifar10 import Split


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Answers over the wire beside the ones recorded offline.

    Attributes:
        version: Model version.
        variant: Precision of the recorded figures, such as "fp32".
        recorded_top1: As recorded, over all test images.
        recorded_n: Number of those.
        difference_points: Measured minus recorded top-1, in percentage points. With the recorded
            answers at hand both sides are taken over the very images that were answered.
        same_images: Whether the record is of the same images (by SHA-256).
        data_variant: The form in which the recorded images came; None if they are others.
        compared_answers: Answers that could be compared one by one; None if the record has none.
        differing_answers: Those that differ from the record; more than a handful (ties that fall
            the other way) means that the server mixes something up.
    """

    version: int
    variant: str
    recorded_top1: float
    recorded_n: int
    difference_points: float
    same_images: bool
    data_variant: str | None
    compared_answers: int | None
    differing_answers: int | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def compare(
    models_dir: Path,
    model: str,
    version: int,
    *,
    split: Split,
    image_ids: npt.NDArray[np.int64],
    answers: npt.NDArray[np.int64],
) -> Comparison | str:
    """Compare with `<models_dir>/<model>/<version>/metrics.json`.

    Args:
        models_dir: The folder that is served.
        model: Model name.
        version: The version that answered.
        split: The test images.
        image_ids: int64, shape (n,), n > 0: the image of each answer.
        answers: int64, shape (n,).

    Returns:
        The comparison, or why there is none.
    """
    path = models_dir / model / str(version) / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        variant, recorded = _variant(metrics["variants"])
        recorded_top1, recorded_n = float(recorded["top1"]), int(recorded["n"])
        data = metrics["data"]
        same_images = data["sha256"] == split.sha256()
        predictions = recorded.get("predictions")
        data_variant = str(data["variant"]) if same_images else None
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        return f"no recorded accuracy in {path}: {type(error).__name__}: {error}"
    top1 = float((answers == split.labels[image_ids]).mean())
    reference, compared, differing = recorded_top1, None, None
    if same_images and predictions is not None and len(predictions) == len(split):
        expected = np.array([int(digit) for digit in predictions], np.int64)[image_ids]
        reference = float((expected == split.labels[image_ids]).mean())
        compared, differing = len(answers), int((answers != expected).sum())
    return Comparison(
        version=version,
        variant=variant,
        recorded_top1=recorded_top1,
        recorded_n=recorded_n,
        difference_points=100 * (top1 - reference),
        same_images=same_images,
        data_variant=data_variant,
        compared_answers=compared,
        differing_answers=differing,
    )


def _variant(variants: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The float32 file's figures, else the first: responses do not say which file answered."""
    return ("fp32", variants["fp32"]) if "fp32" in variants else next(iter(variants.items()))
