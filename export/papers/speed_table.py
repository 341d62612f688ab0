"""The section `benchmark` of metrics.json as Markdown."""

from collections.abc import Mapping
from typing import Any

from export.papers import cells


def render(section: Mapping[str, Any]) -> str:
    """The conditions of the measurement, and a table of all results."""
    rows = [
        (
            variant,
            size,
            f"{cell['images_per_second']:,.0f}",
            f"{cell['ms']:.3g} ({cell['ms_min']:.3g} to {cell['ms_max']:.3g})",
            f"{cell['cpu_ms_per_image']:.3g}",
            _ratio(cell["to_tensorflow"]),
            _ratio(cell["to_fp32"]),
        )
        for variant, result in section["results"].items()
        for size, cell in result["batches"].items()
    ]
    header = (
        "Variant",
        "Batch",
        "Images/s",
        "ms a batch",
        "CPU ms an image",
        "Times TensorFlow",
        "Times fp32",
    )
    note = "In parentheses: the fastest and the slowest round, the lowest and the highest ratio."
    return f"{conditions(section)} {note}\n\n{cells.table(header, rows)}"


def conditions(section: Mapping[str, Any]) -> str:
    """The conditions of the measurement: hardware, threads, versions, commit, rounds, load."""
    hardware, threads = section["hardware"], section["threads"]
    versions = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
    others = [name for name, result in section["results"].items() if result.get("other_weights")]
    text = (
        f"{hardware['cpu']}, {hardware['cores']} cores, {threads} "
        f"{'thread' if threads == 1 else 'threads'}; {versions}; commit "
        f"{cells.commit(section['git_commit'])}; medians of {section['rounds']} rounds in "
        f"turns; load average before the first round {section['load_average_before']:.2f}."
    )
    if others:  # the time does not depend on the weights, but the reader should know
        text += f" With weights of another training of the same architecture: {', '.join(others)}."
    return text


def _ratio(spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return cells.NONE
    if spread["min"] == spread["max"]:  # compared with itself, or a single round
        return f"{spread['median']:.2f}"
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"
