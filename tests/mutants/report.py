"""Results of mutation testing: the score of each package, and the survivors."""

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
# Pytest's exit codes if all tests passed, and if there was no test.
_NOTHING_FAILED = (0, 5)
DETECTED = ("killed", "timeout")
LEAST_SCORE = 92.0


@dataclass(frozen=True)
class Result:
    """The result of a mutant.

    Attributes:
        name: Name of the mutant.
        file: The mutated file.
        line: Number of the first changed line, from 1.
        change: The changed lines, `- old` and `+ new`.
        outcome: The outcome.
        seconds: Duration of the mutant's runs; 0 if there was none.
        tests: Number of tests that were run.
        failed: The first test that failed, and its message; empty if no test failed.
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
    """Read results that `write` wrote; return an empty list if there is no file."""
    if not file.is_file():
        return []
    return [Result(**each) for each in json.loads(file.read_text())]


def outcome_of(exit_code: int | None, failed: str = "") -> Outcome:
    """Return a mutant's outcome.

    Args:
        exit_code: Pytest's exit code; None if the run was killed at its time limit.
        failed: The message of the first test that failed.
    """
    if exit_code is None or "Failed: Timeout" in failed:
        return "timeout"
    return "survived" if exit_code in _NOTHING_FAILED else "killed"


def result(
    mutant: Mutant, outcome: Outcome, seconds: float = 0, tests: int = 0, failed: str = ""
) -> Result:
    """Return the result of a mutant."""
    change, line = mutant.change, mutant.line
    return Result(mutant.name, mutant.file, line, change, outcome, round(seconds, 2), tests, failed)


def score(results: Iterable[Result]) -> float:
    """Return the share of detected mutants among those that are not equivalent, in percent."""
    counts = Counter(each.outcome for each in results)
    judged = counts.total() - counts["equivalent"]
    return 100 * sum(counts[name] for name in DETECTED) / judged if judged else 100.0


def table(results: Sequence[Result], found: Mapping[str, int]) -> str:
    """Return the scores as a table in Markdown.

    Args:
        results: Results of the mutants in the sample.
        found: Number of all mutants by package.
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
    """Return name, line and change of each mutant that survived or that no test runs, as text."""
    return "\n\n".join(
        f"{each.name}\n{each.file}:{each.line}, {each.tests} tests\n{each.change}"
        for each in results
        if each.outcome in ("survived", "untested")
    )
