"""Findings that qualify a report's figures: limits of the client, gates, and notes on the runs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtest.report_schema import Report
from loadtest.reports.configurations import Configuration, subject_labels, which_repeats

# The rules of validity that fail if the load generator could not keep up.
_CLIENT_CHECKS = frozenset({"client-cpu", "client-lag"})
# A number in a sentence, with its commas and points.
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")


@dataclass(frozen=True)
class Verdict:
    """Whether a configuration's figures may be quoted, or a gate was passed, in a few words."""

    text: str
    valid: bool


@dataclass(frozen=True)
class Note:
    """A warning, an error or a reason, and the runs that have it.

    Attributes:
        text: The finding; of several runs with the range of each number.
        where: The configurations, with the numbers of the repeats.
        bad: Whether it is a reason for INVALID.
    """

    text: str
    where: str
    bad: bool


@dataclass(frozen=True)
class GateRow:
    """A gate with the same limit and the same result in one or more runs.

    Attributes:
        name: Name of the gate.
        limit: The limit that was set.
        measured: The measured value; for several runs with the range of each number.
        verdict: Whether the gate was passed.
        where: The configurations with the numbers of the repeats; None if the page has one run.
    """

    name: str
    limit: str
    measured: str
    verdict: Verdict
    where: str | None

    @property
    def cells(self) -> tuple[str | Verdict, ...]:
        """Return the gate as a table row with the columns of `gate_heads`."""
        where = () if self.where is None else (self.where,)
        return self.name, self.limit, self.measured, self.verdict, *where


@dataclass(frozen=True)
class _Place:
    """A run: its configuration, and its number among the repeats.

    Attributes:
        label: Name of the configuration.
        repeat: Number of the run from 1.
        repeats: Repeats of the configuration.
        runs: Runs of all configurations of the page.
    """

    label: str
    repeat: int
    repeats: int
    runs: int


@dataclass
class _Alike:
    """Texts that differ only in numbers, and the runs that have them."""

    texts: list[str] = field(default_factory=list)
    places: dict[_Place, None] = field(default_factory=dict)

    def add(self, text: str, place: _Place) -> None:
        self.texts.append(text)
        self.places[place] = None

    def where(self) -> str:
        """Name every run; a text that all runs of several configurations have names none."""
        repeats: dict[str, list[int]] = {}
        counts = {}
        for place in self.places:
            repeats.setdefault(place.label, []).append(place.repeat)
            counts[place.label] = place.repeats
        if len(repeats) > 1 and len(self.places) == next(iter(self.places)).runs:
            return f"all {len(self.places):,} runs"
        texts = [
            ", ".join(filter(None, [label, which_repeats(numbers, counts[label])]))
            for label, numbers in repeats.items()
        ]
        return "; ".join(texts)


def client_limits(measured: Sequence[Configuration]) -> list[Note]:
    """Return the notes which show that the load generator, not the server, was the limit."""
    found = ((_limits_of(report), where) for report, where in _places(measured))
    return _notes((text, where) for texts, where in found for text in texts)


def gate_heads(measured: Sequence[Configuration]) -> tuple[str, ...]:
    """Return the column heads of the table of gates."""
    heads = ("gate", "limit", "measured", "result")
    return (*heads, "where") if _several_runs(measured) else heads


def gates(measured: Sequence[Configuration]) -> list[GateRow]:
    """Return the gates of all runs, the failed ones in front."""
    groups: dict[tuple[str, str, bool, str], _Alike] = {}
    for report, where in _places(measured):
        for gate in report.gates:
            text = gate.measured or gate.detail
            key = gate.name, gate.limit, gate.passed, _skeleton(text)
            groups.setdefault(key, _Alike()).add(text, where)
    several = _several_runs(measured)
    rows = [
        GateRow(
            name=name,
            limit=limit,
            measured=ranges(group.texts),
            verdict=Verdict("ok" if passed else "FAILED", passed),
            where=group.where() if several else None,
        )
        for (name, limit, passed, _), group in groups.items()
    ]
    return sorted(rows, key=lambda row: row.verdict.valid)


def failed_gates(measured: Sequence[Configuration], stop_reason: str | None) -> list[Note]:
    """Return the gates that were not passed.

    Args:
        measured: The configurations.
        stop_reason: Why the collection ended early; a gate with the same text is left out.
    """
    return _notes(
        (f"{gate.name}: {gate.detail}", where)
        for report, where in _places(measured)
        for gate in report.gates
        if not gate.passed and gate.detail != stop_reason
    )


def complaints(measured: Sequence[Configuration]) -> list[Note]:
    """Return all notes except gates and limits of the client.

    Notes that differ only in numbers are merged into one, with the range of each number.
    """
    notes = _notes(
        (text, where)
        for report, where in _places(measured)
        for text in (*_reasons(report), *_complaints(report))
    )
    return sorted(notes, key=lambda note: not note.bad)


def ranges(texts: Sequence[str]) -> str:
    """Merge texts that differ only in numbers into one text, with the range of each number."""
    found = [_NUMBER.findall(text) for text in texts]
    spans = []
    for numbers in zip(*found, strict=True):
        ordered = sorted(dict.fromkeys(numbers), key=_value)
        spans.append(ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}")
    between = _NUMBER.split(texts[0])
    return between[0] + "".join(span + text for span, text in zip(spans, between[1:], strict=True))


def _several_runs(measured: Sequence[Configuration]) -> bool:
    return sum(len(configuration.results) for configuration in measured) > 1


def _places(measured: Sequence[Configuration]) -> Iterable[tuple[Report, _Place]]:
    """Yield every report and the name of its run."""
    labels = subject_labels([configuration.subject for configuration in measured])
    runs = sum(len(configuration.results) for configuration in measured)
    for configuration in measured:
        label = f"{labels[configuration.subject]}, {configuration.load}"
        for number, report in enumerate(configuration.reports, 1):
            yield report, _Place(label, number, len(configuration.results), runs)


def _notes(found: Iterable[tuple[str, _Place]]) -> list[Note]:
    groups: dict[str, _Alike] = {}
    for text, where in found:
        groups.setdefault(_skeleton(text), _Alike()).add(text, where)
    return [
        Note(ranges(group.texts), group.where(), bad=kind.startswith("INVALID"))
        for kind, group in groups.items()
    ]


def _value(number: str) -> float:
    try:
        return float(number.replace(",", ""))
    except ValueError:  # an address or a version
        return 0.0


def _skeleton(text: str) -> str:
    return _NUMBER.sub("#", text)


def _limits_of(report: Report) -> list[str]:
    texts = [
        f"INVALID: {check.detail}"
        for check in report.validity.checks
        if check.name in _CLIENT_CHECKS and not check.passed
    ]
    if (capacity := report.capacity) is not None and capacity.limited_by == "client":
        rate = capacity.failed_rate_per_second
        at = "" if rate is None else f" at {rate:,.1f} requests/s"
        texts.append(f"the search ended{at} because the load generator could not keep up")
    return texts


def _reasons(report: Report) -> Iterable[str]:
    known = _limits_of(report)
    reasons = (f"INVALID: {reason}" for reason in report.validity.reasons)
    return (reason for reason in reasons if reason not in known)


def _complaints(report: Report) -> Iterable[str]:
    if report.status != "complete" and report.stop_reason not in report.validity.reasons:
        yield f"{report.status}: {report.stop_reason}"
    if (mismatches := report.mismatches) and mismatches.differing:
        yield (
            f"{mismatches.differing:,} of {mismatches.compared:,} answers differ from the "
            "recorded predictions of the same artefact"
        )
    for kind, error in report.errors.items():
        yield f"{kind}: {error.first_message}"
    yield from report.warnings
