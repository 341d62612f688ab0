"""Comparison of results: paired ratios of the figures of two sides, with range and verdict.

Sides are matched configuration by configuration. A property without a common value on the two sides
(precision, for example) is the property that is compared. Load and images must be equal, otherwise
a ratio has no meaning.
A verdict is a test of all pairs, corrected for the number of figures in the comparison: among many
figures, some agree in all of a few pairs by luck.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from loadtest.report_schema import Report
from loadtest.reports import paired, sides
from loadtest.reports.configurations import (
    CAPACITY,
    Configuration,
    LoadKey,
    Subject,
    accuracy,
    configurations,
)
from loadtest.reports.measures import MEASURES, Spread, why_missing
from loadtest.reports.paired import PairedAnswers
from loadtest.reports.sides import Side
from training.evaluation.significance import LEVEL, holm, pairs_needed, sign_flip_p

_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms")
COMPARED = (
    *(*_PERCENTILES, "images_per_second"),
    *("goodput_per_second", "capacity_per_second", "server_cpu_us", "server_memory_mib"),
)
# The figures of find-capacity that do not depend on its last rate.
_COMPARED_CAPACITY = frozenset({"capacity_per_second", "server_memory_mib"})
# The name of the comparison of the answers to the same images, among the figures.
ANSWERS = "answers"
# A ratio of 0 has no logarithm; it counts as this one.
_LEAST_RATIO = 1e-9

RatioVerdict = Literal["better", "worse", "not told apart", "too few pairs"]


class NotComparable(Exception):
    """The results measure different things; the message names them."""


@dataclass(frozen=True)
class Ratio:
    """One figure of a side over that of the first one.

    Attributes:
        measure: Key of measures.MEASURES.
        first: The figure on the first side.
        other: The figure on the other side.
        ratio: Other over first: median, lowest and highest over the pairs. A pair is the k-th
            repeat of each side.
        log_mean: Mean natural logarithm of the ratios. Its sign is the direction of a verdict.
        p_value: Exact permutation test of the logarithms: their signs are flipped.
        p_holm: The same, corrected for all figures of the comparison.
        verdict: "better" or "worse" if `p_holm` is below LEVEL. Otherwise "too few pairs" if so few
            pairs cannot give a verdict in this comparison even if they agree.
    """

    measure: str
    first: Spread
    other: Spread
    ratio: Spread
    log_mean: float
    p_value: float
    p_holm: float = 1.0
    verdict: RatioVerdict = "not told apart"

    def judged(self, p_holm: float, needed: int) -> Self:
        """Return the same ratio with its verdict; `needed` is the number of pairs for one."""
        verdict: RatioVerdict = "not told apart"
        if p_holm < LEVEL:
            higher = MEASURES[self.measure].better == "higher"
            verdict = "better" if (self.log_mean > 0) == higher else "worse"
        elif self.ratio.n < needed:
            verdict = "too few pairs"
        return replace(self, p_holm=p_holm, verdict=verdict)


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
        invalid: The repeats that are not VALID with their reasons, by the name of the side.
        not_compared: Figures that a side lacks, with the reason.
    """

    side: str
    what: str
    ratios: list[Ratio]
    top1_percent: tuple[float, float] | None
    top1_overlap: bool | None
    paired: PairedAnswers | None
    invalid: dict[str, list[str]]
    not_compared: list[str]

    @property
    def p_values(self) -> list[float]:
        """The p-values of all tests, uncorrected: of the ratios, then of the answers."""
        answers = [] if self.paired is None else [self.paired.difference.p_value]
        return [*(ratio.p_value for ratio in self.ratios), *answers]

    def judged(self, corrected: Sequence[float], needed: int) -> Self:
        """Return the same match with its verdicts.

        Args:
            corrected: The corrected p-values, in the order of `p_values`.
            needed: The number of pairs that a verdict needs.
        """
        ratios = [
            ratio.judged(p_holm, needed)
            for ratio, p_holm in zip(self.ratios, corrected, strict=False)
        ]
        answers = self.paired and self.paired.judged(corrected[-1])
        return replace(self, ratios=ratios, paired=answers)


@dataclass(frozen=True)
class Comparison:
    """The comparison of every side with the first.

    Attributes:
        sides: Names of the sides, the first side in front.
        matches: Configurations that are on two sides.
        unmatched: Configurations that are on one side only, in words.
        notes: Differences between the sides that matter for reading the ratios.
        tests: Tests that the p-values are corrected for: figures of all configurations.
        pairs_needed: The fewest pairs that can give a verdict among so many tests.
    """

    sides: list[str]
    matches: list[Match]
    unmatched: list[str]
    notes: list[str]
    tests: int
    pairs_needed: int

    def as_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return asdict(self)


def compare(
    compared: Sequence[Side],
    *,
    anyway: bool = False,
    figures: Collection[str] = (*COMPARED, ANSWERS),
) -> Comparison:
    """Compare every side with the first.

    Args:
        compared: Two or more sides.
        anyway: Also compare sides that are not comparable; the reasons become notes.
        figures: Names of COMPARED, or ANSWERS: the fewer, the fewer pairs a verdict needs.

    Raises:
        NotComparable: Load or images differ, or the sides have no configuration or no figure in
            common.
    """
    first, *others = compared
    matches, unmatched, notes = [], [], []
    for other in others:
        reasons = [*sides.different_images(first, other), *sides.different_loads(first, other)]
        if reasons and not anyway:
            msg = "; ".join(reasons) + "; --anyway compares them nevertheless"
            raise NotComparable(msg)
        notes += [f"NOT COMPARABLE: {reason}" for reason in reasons]
        notes += sides.notes(first, other)
        pairs, left = _match(first, other)
        for ours, theirs in pairs:
            matches.append(_compared((first.name, other.name), ours, theirs, figures))
            if not sides.in_turns(ours.results, theirs.results):
                notes.append(
                    f"not measured in turns: {first.name} and {other.name}; a change of the "
                    "machine in between looks like a difference of the sides"
                )
        unmatched += left
    if not matches:
        msg = f"no configuration is on both sides: {'; '.join(unmatched)}"
        raise NotComparable(msg)
    if not any(match.p_values for match in matches):
        msg = f"none of {', '.join(figures)} was measured on both sides"
        raise NotComparable(msg)
    corrected = holm([p_value for match in matches for p_value in match.p_values])
    tests, needed = len(corrected), pairs_needed(len(corrected))
    judged = []
    for match in matches:
        own, corrected = corrected[: len(match.p_values)], corrected[len(match.p_values) :]
        judged.append(match.judged(own, needed))
    return Comparison(
        sides=[side.name for side in compared],
        matches=judged,
        unmatched=list(dict.fromkeys(unmatched)),
        notes=list(dict.fromkeys(notes)),
        tests=tests,
        pairs_needed=needed,
    )


def _match(first: Side, other: Side) -> tuple[list[tuple[Configuration, Configuration]], list[str]]:
    """Return pairs of configurations that differ in the compared properties alone, and the rest."""
    ours, theirs = configurations(first.results), configurations(other.results)
    ignored = sides.distinguishing(ours, theirs)
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
            matches.append((partner, configuration))
    used = {_key(configuration, ignored) for configuration in theirs}
    unmatched += [
        f"only in {first.name}: {_text(configuration)}"
        for key, configuration in by_key.items()
        if key not in used
    ]
    return matches, unmatched


def _compared(
    names: tuple[str, str], ours: Configuration, theirs: Configuration, figures: Collection[str]
) -> Match:
    totals = accuracy(ours.reports), accuracy(theirs.reports)
    points = overlap = None
    if ANSWERS in figures and totals[0] is not None and totals[1] is not None:
        points = 100 * totals[0].top1, 100 * totals[1].top1
        overlap = totals[0].low <= totals[1].high and totals[1].low <= totals[0].high
    return Match(
        side=names[1],
        what=" to ".join(dict.fromkeys([_text(ours), _text(theirs)])),
        ratios=[
            ratio
            for name in COMPARED
            if name in figures and (ratio := _ratio(name, ours, theirs)) is not None
        ],
        top1_percent=points,
        top1_overlap=overlap,
        paired=paired.compare(ours.results, theirs.results) if ANSWERS in figures else None,
        invalid={
            name: side.invalid_repeats
            for name, side in zip(names, (ours, theirs), strict=True)
            if not side.valid
        },
        not_compared=[
            f"{MEASURES[name].title}: {why}"
            for name in COMPARED
            if name in figures and (why := _why_not(name, names, ours, theirs)) is not None
        ],
    )


def _why_not(
    name: str, names: tuple[str, str], ours: Configuration, theirs: Configuration
) -> str | None:
    """Return why a figure has no ratio; None if it has one, or if neither side measures it."""
    measured = zip(names, (ours, theirs), strict=True)
    lacking = [(side, one) for side, one in measured if one.spread(name) is None]
    of_other_load = ours.load.kind == CAPACITY and name not in _COMPARED_CAPACITY
    # Every load has latencies: if both sides lack a percentile, both have too few answers.
    if of_other_load or (len(lacking) == 2 and name not in _PERCENTILES):
        return None
    if lacking:
        path = MEASURES[name].path
        reasons = (
            f"{side}: {why_missing(result, path)}"
            for side, one in lacking
            for result in one.results
        )
        return "; ".join(dict.fromkeys(reasons))
    if name == "goodput_per_second" and _bounds(ours.reports) != _bounds(theirs.reports):
        return "within different bounds"
    return None if _ratio(name, ours, theirs) else "no pair of repeats has it on both sides"


def _ratio(name: str, ours: Configuration, theirs: Configuration) -> Ratio | None:
    measure = MEASURES[name]
    if ours.load.kind == CAPACITY and name not in _COMPARED_CAPACITY:
        return None
    if name == "goodput_per_second" and _bounds(ours.reports) != _bounds(theirs.reports):
        return None
    pairs = [
        (before, after)
        for mine, yours in zip(ours.results, theirs.results, strict=False)
        if (before := measure.value(mine)) and (after := measure.value(yours)) is not None
    ]
    ratios = [after / before for before, after in pairs]
    ratio = Spread.of(ratios)
    first, other = ours.spread(name), theirs.spread(name)
    if ratio is None or first is None or other is None:
        return None
    logs = [math.log(max(value, _LEAST_RATIO)) for value in ratios]
    return Ratio(
        measure=name,
        first=first,
        other=other,
        ratio=ratio,
        log_mean=sum(logs) / len(logs),
        p_value=sign_flip_p(logs),
    )


def _key(configuration: Configuration, ignored: frozenset[str]) -> tuple[object, ...]:
    names = sides.names_of(Subject, LoadKey)
    return tuple(sides.property_of(configuration, name) for name in names if name not in ignored)


def _bounds(reports: Sequence[Report]) -> set[float | None]:
    return {report.scenario.slo_ms for report in reports}


def _text(configuration: Configuration) -> str:
    subject = configuration.subject
    parts = (subject.model, subject.precision, subject.transport)
    return f"{' '.join(parts)}, {configuration.load}"
