"""What came out: the score of each package, and every survivor."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mutants.mutations import Mutant
from mutants.sampling import PACKAGES, package_of

# `untested`: no test runs the changed line.
Outcome = Literal["killed", "timeout", "survived", "untested", "equivalent"]
TITLES = {
    "killed": "killed",
    "timeout": "timed out",
    "survived": "survived",
    "untested": "no test",
    "equivalent": "equivalent",
}
# pytest's exit codes when all tests passed, and when there was none.
_NOTHING_FAILED = (0, 5)
DETECTED = ("killed", "timeout")
LEAST_SCORE = 92.0


@dataclass(frozen=True)
class Result:
    """How a mutant fared.

    Attributes:
        seconds: Of its run, 0 without one.
        tests: How many were chosen to judge it.
        failed: The first test that failed, and why.
    """

    name: str
    file: str
    line: int
    change: str
    outcome: Outcome
    seconds: float
    tests: int
    failed: str = ""


def write(results: Iterable[Result], file: Path) -> None:
    """Write results as JSON."""
    file.write_text(json.dumps([asdict(each) for each in results], indent=1))


def read(file: Path) -> list[Result]:
    """Read them again; none if there is no file."""
    if not file.is_file():
        return []
    return [Result(**each) for each in json.loads(file.read_text())]


def outcome_of(exit_code: int | None, failed: str = "") -> Outcome:
    """What the end of pytest says about a mutant; None for a run ended at its limit."""
    if exit_code is None or "Failed: Timeout" in failed:
        return "timeout"
    return "survived" if exit_code in _NOTHING_FAILED else "killed"


def result(
    mutant: Mutant, outcome: Outcome, seconds: float = 0, tests: int = 0, failed: str = ""
) -> Result:
    """The result of a mutant."""
    change, line = mutant.change, mutant.line
    return Result(mutant.name, mutant.file, line, change, outcome, round(seconds, 2), tests, failed)


def score(results: Iterable[Result]) -> float:
    """The share of mutants that tests detect in those that are not equivalent, in percent."""
    counts = Counter(each.outcome for each in results)
    judged = counts.total() - counts["equivalent"]
    return 100 * sum(counts[name] for name in DETECTED) / judged if judged else 100.0


def table(results: Sequence[Result], found: Mapping[str, int]) -> str:
    """The scores as a table in Markdown.

    Args:
        results: Of the sample.
        found: How many mutants each package has.
    """
    lines = [
        f"| package | mutants | sample | {' | '.join(TITLES.values())} | score |",
        "|" + " --- |" * 9,
    ]
    for package in (*PACKAGES, "all"):
        ours = [each for each in results if package in ("all", package_of(each.file))]
        counts = Counter(each.outcome for each in ours)
        cells = [
            package,
            f"{sum(found.values()) if package == 'all' else found[package]:,}",
            f"{len(ours):,}",
            *(f"{counts[name]:,}" for name in TITLES),
            f"{score(ours):.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def survivors(results: Iterable[Result]) -> str:
    """Every mutant that no test detects and that is not judged equivalent, with its change."""
    return "\n\n".join(
        f"{each.name}\n{each.file}:{each.line}, {each.tests} tests\n{each.change}"
        for each in results
        if each.outcome in ("survived", "untested")
    )
