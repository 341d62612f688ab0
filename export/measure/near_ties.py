"""The near ties in a version's recorded answers: what another processor may answer instead."""

from collections.abc import Mapping
from typing import Any

from export import progress
from export.measure import recorded_variants
from serving.repository.model_folder import ModelFolder
from training.data.cifar10 import Split
from training.evaluation import predictions

ENTRY = "near_ties"


def find(
    folder: ModelFolder, metrics: Mapping[str, Any], split: Split
) -> dict[str, dict[str, Any]]:
    """Ask every variant of a version about the test images.

    The recorded answers stay. Where this machine gives another one, that class is among those that
    nearly won.

    Args:
        folder: The version.
        metrics: Content of the version's metrics.json, with the answers to the test images.
        split: The test images.

    Returns:
        Entry `near_ties` of each variant, by precision; see `predictions.near_ties`.

    Raises:
        ExportError: metrics.json has no answers for any ONNX file in the folder, or it has answers
            to other images.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant in recorded_variants.open_all(folder, metrics, split):
        with progress.during(variant.precision):
            found[variant.precision] = predictions.near_ties(
                variant.answers("probabilities", split.images),
                predictions.decode(variant.entry["predictions"]),
            )
    return found
