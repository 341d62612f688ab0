"""The section `held_out` of metrics.json as Markdown."""

from collections.abc import Mapping
from typing import Any

from export.papers import cells, robustness_table


def render(section: Mapping[str, Any]) -> str:
    """Sentences about the images and what they decided, and a table of the variants."""
    reference = section["reference"]
    rows = [
        (
            name,
            cells.accuracy(entry["top1"], entry["top1_wilson_95"], entry["n"]),
            cells.percent(entry.get("agreement")),
            robustness_table.loss(entry),
            _decision(name, reference, entry),
        )
        for name, entry in section["variants"].items()
    ]
    header = (
        "Variant",
        "Top-1 (95 % interval)",
        f"Class of {reference}",
        "Points lost (95 % interval)",
        "Decision",
    )
    return f"{_conditions(section)}\n\n{cells.table(header, rows)}"


def _decision(name: str, reference: str, entry: Mapping[str, Any]) -> str:
    if name == reference:
        return cells.NONE
    return "; ".join(entry["objections"]) or "within the limits"


def _conditions(section: Mapping[str, Any]) -> str:
    images = section["images"]
    text = (
        f"These {images:,} of {section['drawn_from']} were not trained on (validation "
        f"{section['validation']}, seed {section['seed']}). They decide which variants are "
        "published; the test images decide nothing."
    )
    int8 = section["variants"].get("int8")
    if int8 and int8["n"] < images:
        text += f" {images - int8['n']:,} of them calibrated int8, and its figures leave them out."
    if section["reference"] != "fp32":
        text += (
            f" fp32 is not in this folder, so the variants are compared with "
            f"{section['reference']}, which is not judged itself."
        )
    return text
