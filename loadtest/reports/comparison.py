"""Results side by side: paired ratios with their spread, where a ratio means anything.

Sides are matched configuration by configuration. What no two sides share (the precision of one
against that of the other, say) is what is being compared; what must be equal for a ratio to mean
anything is the load and the images.
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
# Of find-capacity only what does not depend on the rate it ended with.
_COMPARED_CAPACITY = frozenset({"capacity_per_second", "server_memory_mib"})
# So many pairs must agree for a verdict: by luck alone three do so one time in four.
PAIRS_NEEDED = 3

RatioVerdict = Literal["better", "worse", "within the spread", "too few pairs"]


class NotComparable(Exception):
    """The results measure different things; the message says which."""


@dataclass(frozen=True)
class Side:
    """One of the things compared: a file's results, or those with a certain property."""

    name: str
    results: Sequence[Result]


@dataclass(frozen=True)
class Ratio:
    """One figure of a side over that of the first one.

    Attributes:
        measure: Of measures.MEASURES.
        first: The figure on the first side.
        other: On the other one.
        ratio: Other over first: median, lowest and highest over the pairs, the k-th repeat of one
            side with the k-th of the other.
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
        ratios: Of the figures that both have.
        top1_percent: Top-1 in percent on the first and the other side; None without answers.
        top1_overlap: Whether their 95 % intervals overlap; None likewise.
        paired: The answers to the same images; None where raw values are missing.
        invalid: Which of the sides has results that are not VALID.
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
    """Every side against the first.

    Attributes:
        sides: Their names, the first one in front.
        matches: Configurations that two sides have in common.
        unmatched: Those that only one has, in words.
        notes: Differences that a reader should know of.
    """

    sides: list[str]
    matches: list[Match]
    unmatched: list[str]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def split(results: Sequence[Result], by: str) -> list[Side]:
    """Sides by a property of Subject, such as "precision", in the order in which they come."""
    values = dict.fromkeys(getattr(subject_of(result), by) for result in results)
    return [
        Side(value, [result for result in results if getattr(subject_of(result), by) == value])
        for value in values
    ]


def compare(sides: Sequence[Side], *, anyway: bool = False) -> Comparison:
    """Compare every side with the first.

    Args:
        sides: Two or more.
        anyway: Compare what is not comparable, too; the reasons become notes.

    Raises:
        NotComparable: Load or images differ, or nothing matches.
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
    """Pairs of configurations that are equal but for what distinguishes the sides."""
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
    """Parts of the load that no configuration of the two sides shares."""
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
    """Fields of subject and load that have no value in common on the two sides."""
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
    """Differences in how the sides were measured."""
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
