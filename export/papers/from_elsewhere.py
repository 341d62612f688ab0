"""The part of a model card about a model from elsewhere: its origin, and its figures if any."""

from collections.abc import Mapping
from typing import Any

from export.papers import accuracy_tables

_FROM_ELSEWHERE = """\
{made_of}, published by `python -m export saved-model`. Its purpose and training data
are not known here: ask its author."""
_NOT_MEASURED = " Its accuracy was not measured."
_MOST_SHOWN = 20  # classes in a confusion matrix
_ONNX_FROM_ELSEWHERE = """\
An ONNX file made elsewhere{producer}, published by `python -m export onnx`. Its purpose and
training data are not known here: ask its author."""


def parts(metrics: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs and tables for the content of metrics.json."""
    source = metrics.get("source") or {}
    if source.get("kind") != "onnx":
        made_of = f"`{source['file']}`" if "file" in source else "A SavedModel made elsewhere"
        measured = "" if "variants" in metrics else _NOT_MEASURED
        return [_FROM_ELSEWHERE.format(made_of=made_of) + measured, *_measured(metrics)]
    producer = f" (by {source['producer']})" if "producer" in source else ""
    measured = "" if "variants" in metrics else _NOT_MEASURED
    told = [_ONNX_FROM_ELSEWHERE.format(producer=producer) + measured]
    if cut := source.get("zip_map_cut_from"):
        outputs = ", ".join(f"`{name}`" for name in cut)
        told.append(f"A ZipMap was removed from {outputs}: the scores are a matrix.")
    return [*told, *_measured(metrics)]


def _measured(metrics: Mapping[str, Any]) -> list[str]:
    """Return the paragraph about class names; with test data, variants and their accuracy too."""
    names = metrics.get("class_names") or []
    told = [f"Classes in output order: {', '.join(names)}."] if names else []
    data = metrics.get("data")
    if not data or "variants" not in metrics:
        return told
    told += [
        accuracy_tables.variants(metrics),
        "Measured with ONNX Runtime on the published file, on the "
        f"{data['images']:,} rows of the test data `{data['name']}` (SHA-256 of the arrays and "
        f"labels `{data['sha256'][:16]}...`). The class of a row is the largest number in output "
        f"`{data['scores']}`."
        + ("" if data["labels"] else " No labels are known, so there is no accuracy."),
    ]
    int8 = (metrics["variants"].get("int8") or {}).get("calibration") or {}
    if "rows" in int8:
        told.append(
            f"{int8['images']:,} of the rows calibrated int8; its figures are about the others."
        )
    if accepted := [name for name, entry in metrics["variants"].items() if "judged_on" in entry]:
        told.append(
            f"The rows that the figures of {', '.join(accepted)} are about also decided that it "
            "is published, so these figures may be slightly too high."
        )
    first = next(iter(metrics["variants"].values()))
    matrix = first.get("confusion_matrix")
    if matrix and len(matrix) <= _MOST_SHOWN:
        told += accuracy_tables.confusions(list(first["per_class_accuracy"]), matrix)
    return told
