"""What a plan has measured, what it has not, and its exit code."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtest.plans.progress import say
from loadtest.report_schema import SCHEMA_VERSION, Collection, Report, Result
from loadtest.report_traffic_schema import MixTotals
from loadtest.reports.pages import files
from loadtest.settings.config import UsageError
from loadtest.verdict.gates import missed


@dataclass
class Outcome:
    """The results of a plan so far.

    Attributes:
        results: The results of the runs that have a report, in order.
        mixes: The totals of the repeats of a mix, in order.
        missed_gates: One line for each run that missed a gate.
        not_measured: One line for each run without a report.
        stop_reason: Why the plan ended early; None if it did not.
    """

    results: list[Result] = field(default_factory=list)
    mixes: list[MixTotals] = field(default_factory=list)
    missed_gates: list[str] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)
    stop_reason: str | None = None

    @property
    def failures(self) -> list[str]:
        """What was not measured, and the gates that were missed; empty if all is well."""
        stopped = [] if self.stop_reason is None else [self.stop_reason]
        return [*self.missed_gates, *self.not_measured] or stopped

    def judge(self, run: str, report: Report) -> None:
        """Note the gates that a run missed.

        Args:
            run: What was run, for the message.
            report: Its report.
        """
        if (failed := missed(report.gates)) is not None:
            self.missed_gates.append(f"{run}: {failed}")

    def collection(self, name: str) -> Collection:
        """Return the results so far as a collection with the name of the plan."""
        return Collection(
            schema_version=SCHEMA_VERSION,
            name=name,
            stop_reason=self.stop_reason,
            results=self.results,
            not_measured=self.not_measured,
            mixes=self.mixes,
        )


def finish(outcome: Outcome, name: str, folder: Path, *, runs: str, print_json: bool) -> int:
    """Write the report, and print where it is and what failed.

    Args:
        outcome: The outcome of the plan.
        name: Name of the plan.
        folder: Folder of the report.
        runs: What the plan calls its runs, in the plural.
        print_json: Whether the report is printed, too, as one line of JSON.

    Returns:
        Exit code: 0 if every run was measured and passed its gates, else 1.

    Raises:
        UsageError: Nothing was measured; then no report is written.
    """
    if not outcome.results:
        reasons = "; ".join(outcome.not_measured) or outcome.stop_reason
        raise UsageError(reasons or "nothing was measured")
    document = outcome.collection(name)
    files.write(document, folder)
    sys.stdout.write(f"{len(outcome.results)} {runs}; report: {folder / 'report.html'}\n")
    if print_json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    failures = outcome.failures
    if failures:
        sys.stdout.flush()
        say(f"failed: {'; '.join(failures)}")
    return 1 if failures else 0
