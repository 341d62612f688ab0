"""The accuracy tables of a model card: one of the variants, and the confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.papers import cells, robustness_table

_MOST_COLUMNS = 25
_FREQUENT = 25


def confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[str]:
    """Return the accuracy by class and the confusion matrix, each with its heading.

    Of more than 25 classes the matrix would be too wide to read; its largest entries beside the
    diagonal take its place.
    """
    if len(names) > _MOST_COLUMNS:
        return [
            "## Accuracy by class",
            _by_class(names, matrix),
            "## Most frequent mistakes",
            _frequent(names, matrix),
        ]
    rows = (
        (f"**{name}**", *(str(count) for count in row))
        for name, row in zip(names, matrix, strict=True)
    )
    return [
        "## Accuracy by class",
        _by_class(names, matrix),
        "## Confusion matrix",
        "Rows: label. Columns: answer.",
        cells.table(("", *names), rows),
    ]


def _frequent(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    found = sorted(
        (-count, label, answer)
        for label, row in enumerate(matrix)
        for answer, count in enumerate(row)
        if count and answer != label
    )
    rows = [(names[label], names[answer], f"{-n:,}") for n, label, answer in found[:_FREQUENT]]
    return cells.table(("Label", "Answer", "Images"), rows) if rows else "None."


def variants(metrics: Mapping[str, Any]) -> str:
    """Return a table of the variants, and the reasons for those that the gate refused."""
    published = metrics["variants"]
    header = ["Variant", "Top-1", "95 % interval", "Correct", "Images", "Size"]
    entries = [(f"{name} (`{entry['file']}`)", entry) for name, entry in published.items()]
    reference = metrics.get("reference")
    if reference:  # the float32 model that the variants were compared with, if not published
        entries.append((f"{reference['precision']} (not in this folder)", reference))
    rows = [_result(name, entry) for name, entry in entries]
    if any("agreement" in entry for _, entry in entries):
        header += ["Class of fp32", "Points lost (95 % interval)"]
        rows = [[*row, *_loss(entry)] for row, (_, entry) in zip(rows, entries, strict=True)]
    text = cells.table(header, rows)
    text += "".join(
        f"\n\n{name} was made from `{entry['made_from']}` (commit "
        f"{cells.commit(entry['git_commit'])}) and compared with the recorded answers of fp32."
        for name, entry in published.items()
        if "made_from" in entry
    )
    rejected = metrics.get("rejected_variants") or {}
    if rejected:
        reasons = [
            f"- {precision}{_measured(metrics, precision)}: {'; '.join(entry['objections'])}"
            for precision, entry in rejected.items()
        ]
        text += "\n\nTried, but not published:\n\n" + "\n".join(reasons)
    return text


def _measured(metrics: Mapping[str, Any], precision: str) -> str:
    """The accuracy of a refused variant on the rows that refused it; empty if it is not known."""
    judged = ((metrics.get("held_out") or {}).get("variants") or {}).get(precision) or {}
    if "top1" in judged:
        return f" ({cells.percent(judged['top1'])} of the held-out images)"
    # Earlier programs, and models from elsewhere.
    top1 = metrics["rejected_variants"][precision].get("top1")
    return "" if top1 is None else f" ({cells.percent(top1)})"


def _result(name: str, entry: Mapping[str, Any]) -> list[str]:
    if "top1" not in entry:
        return [name, *[cells.NONE] * 4, cells.megabytes(entry.get("bytes"))]
    low, high = entry["top1_wilson_95"]
    return [
        name,
        f"**{entry['top1']:.2%}**",
        f"{low:.2%} to {high:.2%}",
        f"{entry['correct']:,}",
        f"{entry['n']:,}",
        cells.megabytes(entry.get("bytes")),
    ]


def _loss(entry: Mapping[str, Any]) -> list[str]:
    """Return two cells: agreement with the float32 model, and points lost against it.

    The cells of the float32 model itself are dashes.
    """
    if "agreement" not in entry:
        return [cells.NONE, cells.NONE]
    return [cells.percent(entry["agreement"]), robustness_table.loss(entry)]


def _by_class(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = []
    for label, (name, row) in enumerate(zip(names, matrix, strict=True)):
        total = sum(row)
        confused = max((count, other) for other, count in enumerate(row) if other != label)
        rows.append(
            (
                name,
                f"{row[label] / total:.1%}" if total else "-",
                f"{row[label]:,} of {total:,}",
                f"{names[confused[1]]} ({confused[0]})" if confused[0] else "-",
            )
        )
    return cells.table(("Class", "Accuracy", "Correct", "Most often taken for"), rows)
