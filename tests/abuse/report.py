"""Writes the table of results: to the terminal, as JSON, and to docs/abuse.md."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from abuse.fair_shares import Shares
from abuse.processes import ROOT
from abuse.row_run import TARGET_RATIO, Result

PAGE = ROOT / "docs" / "abuse.md"
BEGIN = "<!-- Written by `make abuse ABUSE_DOCS=1`; do not edit. -->"
END = "<!-- End of what `make abuse` writes. -->"
SHARES_BEGIN = "<!-- Shares, written by `make abuse ABUSE_DOCS=1`; do not edit. -->"
SHARES_END = "<!-- End of the shares. -->"
SHARES = pytest.StashKey[Shares]()
JSON_FILE = Path(os.environ.get("ABUSE_JSON") or ROOT / "build" / "abuse" / "results.json")
_HEAD = (
    *("row", "answered", "new caller, slowest", "answers at once after", "memory", "kept"),
    *("p99", "slowest", "times p99 beside a busy process", "SIGTERM", "missed"),
)


def facts() -> dict[str, object]:
    """Return the conditions of the measurement: hardware, commit and Python's version."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "commit": git("rev-parse", "--short=12", "HEAD"),
        "changed_files": bool(git("status", "--porcelain", "--", "serving")),
        "python": platform.python_version(),
    }


def cells(result: Result) -> list[str]:
    """Return the cells of a result's row in the table."""
    missing = "-"
    return [
        result.id,
        f"{result.answered} of {result.asked}",
        f"{result.slowest_new:.2f} s of {result.new_asked}",
        missing if result.recovery is None else f"{result.recovery:.1f} s",
        f"{result.growth_mb:+.0f} MB",
        f"{result.lasting_mb:+.0f} MB",
        missing if result.p99_ms is None else f"{result.p99_ms:.1f} ms",
        f"{result.slowest_ms:.0f} ms",
        missing if result.ratio is None else f"{result.ratio:.1f} (n={result.rounds})",
        missing if result.stop is None else f"{result.stop:.1f} s",
        "; ".join(result.faults) or "nothing",
    ]


def text(results: Sequence[Result]) -> str:
    """Return the table in aligned columns, for a terminal."""
    table = [list(_HEAD), *map(cells, results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEAD) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in table
    )


def write_json(results: Sequence[Result], shares: Shares | None) -> Path:
    """Write all results and their conditions as JSON; return the file."""
    JSON_FILE.parent.mkdir(parents=True, exist_ok=True)
    document = facts() | {"target_ratio": TARGET_RATIO, "rows": [r.as_dict() for r in results]}
    if shares is not None:
        document["fair_shares"] = shares.as_dict()
    JSON_FILE.write_text(json.dumps(document, indent=1) + "\n")
    return JSON_FILE


def write_page(results: Sequence[Result]) -> None:
    """Write the table between the markers of docs/abuse.md."""
    known = facts()
    missed = sum(bool(result.faults) for result in results)
    changed = " with changes in serving/" if known["changed_files"] else ""
    belongs_to = (
        f"{len(results)} rows, {len(results) - missed} without a missed criterion. "
        f"{known['cpu']}, {known['cores']} cores, commit {known['commit']}{changed}, "
        f"Python {known['python']}; n is the number of rounds that a ratio is the median of."
    )
    lines = [
        belongs_to,
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|---" * len(_HEAD) + "|",
        *("| " + " | ".join(map(_in_a_cell, cells(result))) + " |" for result in results),
    ]
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


def write_shares(shares: Shares) -> None:
    """Write the shares between their markers in docs/abuse.md."""
    known = facts()
    changed = " with changes in serving/" if known["changed_files"] else ""
    conditions = f"{known['cpu']}, {known['cores']} cores, commit {known['commit']}{changed}."
    page = PAGE.read_text()
    before, _, rest = page.partition(SHARES_BEGIN)
    _, _, after = rest.partition(SHARES_END)
    text = f"{shares.sentence()} {conditions}"
    PAGE.write_text(f"{before}{SHARES_BEGIN}\n\n{text}\n\n{SHARES_END}{after}")


def _in_a_cell(content: str) -> str:
    return content.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
