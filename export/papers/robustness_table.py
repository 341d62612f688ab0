"""The section `robustness` of metrics.json as Markdown."""

from collections.abc import Mapping
from typing import Any

from export.papers import cells


def render(section: Mapping[str, Any]) -> str:
    """A sentence about how the images were made, and a table of all results."""
    rows = [
        (
            f"{check['settings']['format']}, quality {check['settings']['quality']}",
            precision,
            cells.accuracy(result["top1"], result["top1_wilson_95"], result["n"]),
            loss(result),
            cells.percent(result["agreement"]),
        )
        for check in section["checks"].values()
        for precision, result in check["variants"].items()
    ]
    header = (
        "Images",
        "Variant",
        "Top-1 (95 % interval)",
        "Points lost (95 % interval)",
        "Same answer",
    )
    return f"{conditions(section)}\n\n{cells.table(header, rows)}"


def conditions(section: Mapping[str, Any]) -> str:
    """Sentences about how the images were made and how the loss is computed."""
    encoder = next(iter(section["checks"].values()))["settings"]
    versions, subsampling = section["versions"], encoder["subsampling"]
    return (
        f"The same {section['data']['images']:,} test images, encoded as baseline JPEG with "
        f"{subsampling} chroma by Pillow {versions['pillow']} (libjpeg-turbo "
        f"{versions['libjpeg-turbo']}, standard Huffman tables) and decoded by the server's "
        "decoder. Points lost compare a variant with itself on the lossless images; the interval "
        "is that of paired answers."
    )


def loss(result: Mapping[str, Any]) -> str:
    """Points lost with their interval: `2.43 (1.90 to 2.96)`; a dash if they are not known."""
    if "drop_interval_95" not in result:
        return cells.NONE
    low, high = result["drop_interval_95"]
    return f"{result['drop_points']:z.2f} ({low:z.2f} to {high:z.2f})"
