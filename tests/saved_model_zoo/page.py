"""The table of all models in docs/saved-models.md."""

import datetime as dt
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from saved_model_zoo.run import Result

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "saved-models.md"
BEGIN = "<!-- Written by `make conformance SAVED_MODEL_DOCS=1`; do not edit. -->"
END = "<!-- End of what the suite writes. -->"
_HEAD = (
    *("model", "of", "made with", "served by", "why"),
    *("largest difference", "batched or alone"),
)
_RUNTIMES = {"onnx": "ONNX Runtime", "tensorflow": "TensorFlow"}
_PACKAGES = ("tensorflow", "keras", "tf-keras", "tf2onnx", "onnxslim", "onnxruntime", "numpy")
_SHORT = 160


def table(results: Sequence[Result]) -> str:
    """Return the text between `BEGIN` and `END`."""
    ways = Counter(result.way for result in results)
    counted = f"{ways['onnx']} served by ONNX Runtime and {ways['tensorflow']} by TensorFlow"
    lines = [
        f"{len(results)} models, {counted}. {_facts()}",
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|" + "---|" * len(_HEAD),
    ]
    lines += [f"| {' | '.join(_cells(result))} |" for result in results]
    return "\n".join(lines)


def write(results: Sequence[Result]) -> None:
    """Write the table into the page."""
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(results)}\n\n{END}{rest.partition(END)[2]}")


def rows() -> dict[str, str]:
    """Return the runtime that the page names for each model, "onnx" or "tensorflow"."""
    listed = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    found = re.findall(r"^\| `([^`]+)` \|[^|]+\|[^|]+\| ([^|]+) \|", listed, flags=re.MULTILINE)
    names = {runtime: way for way, runtime in _RUNTIMES.items()}
    return {name: names[runtime] for name, runtime in found}


def _facts() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    versions = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
    changed = (
        " and uncommitted changes" if git("status", "--porcelain", "export", "serving") else ""
    )
    return (
        f"Measured on {dt.datetime.now(dt.UTC):%d %B %Y} at commit "
        f"`{git('rev-parse', '--short=12', 'HEAD')}`{changed}, on {len(os.sched_getaffinity(0))} "
        f"cores of a CPU ({platform.machine()}), with Python {platform.python_version()}, "
        f"{versions}."
    )


def _cells(result: Result) -> list[str]:
    entry, why = result.entry, result.why.replace("|", "/")
    if len(why) > _SHORT:
        why = f"{why[:_SHORT].rstrip()}…"
    batched = {name for name, shares in result.batched.items() if shares}
    verdict = "batched" if batched else "alone"
    if batched and len(batched) < len(result.batched):
        verdict = f"batched: {', '.join(sorted(batched))}; the others alone"
    return [
        f"`{entry.name}`",
        entry.what,
        entry.made_with,
        _RUNTIMES[result.way],
        why or "-",
        "equal" if not result.difference else f"{result.difference:.1e}",
        verdict,
    ]
