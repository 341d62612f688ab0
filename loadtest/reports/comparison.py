"""Comparison of results: paired ratios of the figures of two sides, with their spread.

Sides are matched configuration by configuration. A property without a common value on the two sides
(precision, for example) is the property that is compared. Load and images must be equal, otherwise
a ratio has no meaning.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from loadtest.report_schema import Report, Result
from loadtest.reports import paired
from loadtest.reports.configurations import (
    CAPACITY,
    Configuration,
    LoadKey,
    Subject,
    accuracy,
    configurations,
    subject_of,
)
from loadtest.reports.measures import MEASURES, Spread
from loadtest.reports.paired import PairedAnswers

COMPARED = (
    *("p50_ms", "p90_ms", "p99_ms", "images_per_second"),
    *("goodput_per_second", "capacity_per_second", "server_cpu_us", "server_memory_mib"),
)
# The figures of find-capacity that do not depend on its last rate.
_COMPARED_CAPACITY = frozenset({"capacity_per_second", "server_memory_mib"})
# The fewest pairs that must agree for a verdict; by chance, three pairs agree one time in four.
PAIRS_NEEDED = 3

RatioVerdict = Literal["better", "worse", "within the spread", "too few pairs"]


class NotComparable(Exception):
    """The results measure different things; the message names them."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the results of a file, or those with a certain property."""

    name: str
    results: Sequence[Result]


@dataclass(frozen=True)
class Ratio:
    """One figure of a side over that of the first one.

    Attributes:
        measure: Key of measures.MEASURES.
        first: The figure on the first side.
        other: The figure on the other side.
        ratio: Other over first: median, lowest and highest over the pairs. A pair is the k-th
            repeat of each side.
        verdict: "better" or "worse" if every one of at least PAIRS_NEEDED pairs says so.
    """

    measure: str
    first: Spread
    other: Spread
    ratio: Spread
    verdict: RatioVerdict


@dataclass(frozen=True)
class Match:
    """One configuration on both sides.

    Attributes:
        side: Name of the other side.
        what: The configuration in words.
        ratios: Ratios of the figures that both sides have.
        top1_percent: Top-1 in percent on the first and the other side; None without answers.
        top1_overlap: Whether their 95 % intervals overlap; None without answers.
        paired: The answers to the same images; None if raw values are missing.
        invalid: Names of the sides with results that are not VALID.
    """

    side: str
    what: str
    ratios: list[Ratio]
    top1_percent: tuple[float, float] | None
    top1_overlap: bool | None
    paired: PairedAnswers | None
    invalid: list[str]


@dataclass(frozen=True)
class Comparison:
    """The comparison of every side with the first.

    Attributes:
        sides: Names of the sides, the first side in front.
        matches: Configurations that are on two sides.
        unmatched: Configurations that are on one side only, in words.
        notes: Differences between the sides that matter for reading the ratios.
    """

    sides: list[str]
    matches: list[Match]
    unmatched: list[str]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return asdict(self)


def split(results: Sequence[Result], by: str) -> list[Side]:
    """Return a side for each value of a property of Subject, such as "precision"."""
    values = dict.fromkeys(getattr(subject_of(result), by) for result in results)
    return [
        Side(value, [result for result in results if getattr(subject_of(result), by) == value])
        for value in values
    ]


def compare(sides: Sequence[Side], *, anyway: bool = False) -> Comparison:
    """Compare every side with the first.

    Args:
        sides: Two or more.
        anyway: Also compare sides that are not comparable; the reasons become notes.

    Raises:
        NotComparable: Load or images differ, or the sides have no configuration in common.
    """
    first, *others = sides
    matches, unmatched, notes = [], [], []
    for other in others:
        reasons = [*_different_images(first, other), *_different_loads(first, other)]
        if reasons and not anyway:
            msg = "; ".join(reasons) + "; --anyway compares them nevertheless"
            raise NotComparable(msg)
        notes += [f"NOT COMPARABLE: {reason}" for reason in reasons]
        notes += _notes(first, other)
        found, left = _match(first, other)
        matches += found
        unmatched += left
    if not matches:
        msg = f"no configuration is on both sides: {'; '.join(unmatched)}"
        raise NotComparable(msg)
    names = [side.name for side in sides]
    return Comparison(names, matches, list(dict.fromkeys(unmatched)), list(dict.fromkeys(notes)))


def _match(first: Side, other: Side) -> tuple[list[Match], list[str]]:
    """Return pairs of configurations that differ in the compared properties alone, and the rest."""
    ours, theirs = configurations(first.results), configurations(other.results)
    ignored = _distinguishing(ours, theirs)
    by_key: dict[tuple[object, ...], Configuration] = {}
    for configuration in ours:
        known = by_key.setdefault(_key(configuration, ignored), configuration)
        if known is not configuration:
            msg = (
                f"{first.name} has both {_text(known)} and {_text(configuration)} to compare with; "
                "give a side for each, or split them with --by"
            )
            raise NotComparable(msg)
    matches, unmatched = [], []
    for configuration in theirs:
        partner = by_key.get(_key(configuration, ignored))
        if partner is None:
            unmatched.append(f"only in {other.name}: {_text(configuration)}")
        else:
            matches.append(_compared(first.name, other.name, partner, configuration))
    used = {_key(configuration, ignored) for configuration in theirs}
    unmatched += [
        f"only in {first.name}: {_text(configuration)}"
        for key, configuration in by_key.items()
        if key not in used
    ]
    return matches, unmatched


def _compared(first: str, second: str, ours: Configuration, theirs: Configuration) -> Match:
    totals = accuracy(ours.reports), accuracy(theirs.reports)
    points = overlap = None
    if totals[0] is not None and totals[1] is not None:
        points = 100 * totals[0].top1, 100 * totals[1].top1
        overlap = totals[0].low <= totals[1].high and totals[1].low <= totals[0].high
    return Match(
        side=second,
        what=" to ".join(dict.fromkeys([_text(ours), _text(theirs)])),
        ratios=[ratio for name in COMPARED if (ratio := _ratio(name, ours, theirs)) is not None],
        top1_percent=points,
        top1_overlap=overlap,
        paired=paired.compare(ours.results, theirs.results),
        invalid=[name for name, side in ((first, ours), (second, theirs)) if not side.valid],
    )


def _ratio(name: str, ours: Configuration, theirs: Configuration) -> Ratio | None:
    measure = MEASURES[name]
    if ours.load.kind == CAPACITY and name not in _COMPARED_CAPACITY:
        return None
    if name == "goodput_per_second" and _bounds(ours.reports) != _bounds(theirs.reports):
        return None  # within different bounds
    pairs = [
        (before, after)
        for mine, yours in zip(ours.results, theirs.results, strict=False)
        if (before := measure.value(mine)) and (after := measure.value(yours)) is not None
    ]
    ratio = Spread.of(after / before for before, after in pairs)
    first, other = ours.spread(name), theirs.spread(name)
    if ratio is None or first is None or other is None:
        return None
    verdict: RatioVerdict = "within the spread"
    if ratio.n < PAIRS_NEEDED:
        verdict = "too few pairs"
    elif ratio.low > 1 or ratio.high < 1:
        verdict = "better" if (ratio.low > 1) == (measure.better == "higher") else "worse"
    return Ratio(name, first, other, ratio, verdict)


def _different_images(first: Side, other: Side) -> list[str]:
    digests = [
        {result.report.manifest.data.sha256 for result in side.results} for side in (first, other)
    ]
    if digests[0] == digests[1]:
        return []
    shown = [" and ".join(sorted(digest[:12] for digest in known)) for known in digests]
    return [f"{first.name} has test images {shown[0]}, {other.name} {shown[1]} (SHA-256)"]


def _different_loads(first: Side, other: Side) -> list[str]:
    """Return the parts of the load that have no common value on the two sides, in words."""
    sides = configurations(first.results), configurations(other.results)
    ignored = _distinguishing(*sides)
    reasons = []
    for field in fields(LoadKey):
        if field.name in ignored:
            shown = [
                " and ".join(dict.fromkeys(str(getattr(one.load, field.name)) for one in side))
                for side in sides
            ]
            name = field.name.replace("_", " ")
            reasons.append(f"{first.name} has {name} {shown[0]}, {other.name} {shown[1]}")
    return reasons


def _distinguishing(
    ours: Sequence[Configuration], theirs: Sequence[Configuration]
) -> frozenset[str]:
    """Return the fields of subject and load that have no common value on the two sides."""
    names = [field.name for kind in (Subject, LoadKey) for field in fields(kind)]
    return frozenset(
        name
        for name in names
        if not {_value(one, name) for one in ours} & {_value(one, name) for one in theirs}
    )


def _key(configuration: Configuration, ignored: frozenset[str]) -> tuple[object, ...]:
    names = [field.name for kind in (Subject, LoadKey) for field in fields(kind)]
    return tuple(_value(configuration, name) for name in names if name not in ignored)


def _value(configuration: Configuration, name: str) -> object:
    return (vars(configuration.subject) | vars(configuration.load))[name]


def _notes(first: Side, other: Side) -> list[str]:
    """Return the differences in how the sides were measured, in words."""
    found = []
    for name, facts in _CIRCUMSTANCES.items():
        known = [
            dict.fromkeys(facts(result.report) for result in side.results)
            for side in (first, other)
        ]
        if known[0] != known[1]:
            shown = [_some(list(values)) for values in known]
            found.append(f"{name}: {first.name} {shown[0]}, {other.name} {shown[1]}")
    return found


def _some(values: Sequence[str]) -> str:
    return " and ".join(values) if len(values) <= 3 else f"{len(values)} different ones"


def _bounds(reports: Sequence[Report]) -> set[float | None]:
    return {report.scenario.slo_ms for report in reports}


def _text(configuration: Configuration) -> str:
    subject = configuration.subject
    parts = (subject.model, subject.precision, subject.transport)
    return f"{' '.join(parts)}, {configuration.load}"


_CIRCUMSTANCES: dict[str, Callable[[Report], str]] = {
    "processor": lambda report: str(report.manifest.cpu),
    "cores": lambda report: str(report.manifest.cores),
    "commit": lambda report: str(report.manifest.git_commit)[:15],
    "latency bound (ms)": lambda report: str(report.scenario.slo_ms),
    "order of the images (seed)": lambda report: str(report.scenario.seeds.get("order")),
}
