"""The sides of a comparison, and what else differs between them than what is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from loadtest.report_schema import Report, Result
from loadtest.reports.configurations import (
    Configuration,
    LoadKey,
    Subject,
    configurations,
    subject_of,
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the results of a file, or those with a certain property."""

    name: str
    results: Sequence[Result]


def split(results: Sequence[Result], by: str) -> list[Side]:
    """Return a side for each value of a property of Subject, such as "precision"."""
    values = dict.fromkeys(getattr(subject_of(result), by) for result in results)
    return [
        Side(value, [result for result in results if getattr(subject_of(result), by) == value])
        for value in values
    ]


def different_images(first: Side, other: Side) -> list[str]:
    """Return a sentence with both digests if the sides have different test images."""
    digests = [
        {result.report.manifest.data.sha256 for result in side.results} for side in (first, other)
    ]
    if digests[0] == digests[1]:
        return []
    shown = [" and ".join(sorted(digest[:12] for digest in known)) for known in digests]
    return [f"{first.name} has test images {shown[0]}, {other.name} {shown[1]} (SHA-256)"]


def different_loads(first: Side, other: Side) -> list[str]:
    """Return the parts of the load that have no common value on the two sides, in words."""
    sides = configurations(first.results), configurations(other.results)
    ignored = distinguishing(*sides)
    reasons = []
    for name in names_of(LoadKey):
        if name in ignored:
            shown = [
                " and ".join(dict.fromkeys(str(getattr(one.load, name)) for one in side))
                for side in sides
            ]
            words = name.replace("_", " ")
            reasons.append(f"{first.name} has {words} {shown[0]}, {other.name} {shown[1]}")
    return reasons


def distinguishing(
    ours: Sequence[Configuration], theirs: Sequence[Configuration]
) -> frozenset[str]:
    """Return the fields of subject and load that have no common value on the two sides."""
    return frozenset(
        name
        for name in names_of(Subject, LoadKey)
        if not {property_of(one, name) for one in ours} & {property_of(one, name) for one in theirs}
    )


def names_of(*kinds: type[Subject | LoadKey]) -> list[str]:
    """Return the names of the properties that distinguish subjects or loads."""
    return [field.name for kind in kinds for field in fields(kind) if field.compare]


def property_of(configuration: Configuration, name: str) -> object:
    """Return a field of the configuration's subject or load."""
    return (vars(configuration.subject) | vars(configuration.load))[name]


def in_turns(first: Sequence[Result], other: Sequence[Result]) -> bool:
    """Return whether the repeats of two sides took turns: no repeat began after the other's next.

    Args:
        first: Repeats of a configuration in their order.
        other: Repeats of the same configuration on the other side.
    """
    starts = [[result.report.manifest.started_utc for result in side] for side in (first, other)]
    return all(
        mine <= next_one
        for ours, theirs in (starts, reversed(starts))
        for mine, next_one in zip(ours, theirs[1:], strict=False)
    )


def notes(first: Side, other: Side) -> list[str]:
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


_CIRCUMSTANCES: dict[str, Callable[[Report], str]] = {
    "processor": lambda report: str(report.manifest.cpu),
    "cores": lambda report: str(report.manifest.cores),
    "commit": lambda report: str(report.manifest.git_commit)[:15],
    "latency bound (ms)": lambda report: str(report.scenario.slo_ms),
    "order of the images (seed)": lambda report: str(report.scenario.seeds.get("order")),
}
