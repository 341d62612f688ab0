"""report.html: one page without scripts or requests, with tables, plots and the manifest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.report_schema import Collection
from loadtest.reports import facts, summary
from loadtest.reports.configurations import Configuration, Subject, configurations
from loadtest.reports.plots import accuracy, latency, rates
from loadtest.reports.plots.frame import Look, looks
from loadtest.reports.summary import Verdict
from training.pages.drawing import Figure, Legend
from training.pages.rendering import render as render_template

_NUMBERS = range(3, 12)  # columns of the table of results


@dataclass(frozen=True)
class _Card:
    """The headline of one subject.

    Attributes:
        swatch: The subject's marker.
        colour: Style class of its colour.
        label: Its name.
        verdict: How many of its configurations are VALID.
        figures: Values with their explanations.
    """

    swatch: Legend
    colour: str
    label: str
    verdict: Verdict
    figures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Group:
    """A section of plots."""

    title: str
    figures: Sequence[Figure]


def render(collection: Collection) -> str:
    """Return the page."""
    measured = configurations(collection.results)
    appearance = looks(measured)
    groups = _groups(measured, appearance)
    figures = [figure for group in groups for figure in group.figures]
    cost_heads, costs = summary.costs(measured)
    return render_template(
        "loadtest.reports.pages",
        "report.html",
        name=collection.name,
        subtitle=_subtitle(collection),
        stop_reason=collection.stop_reason,
        not_measured=collection.not_measured,
        cards=_cards(measured, appearance),
        notes=summary.complaints(measured),
        groups=_drawn(groups),
        left_out=[figure for figure in figures if figure.drawing is None],
        key=summary.KEY,
        heads=summary.HEADS,
        numbers=_NUMBERS,
        rows=[[*row.name, row.verdict, *row.figures] for row in summary.rows(measured)],
        cost_heads=cost_heads,
        costs=costs,
        facts=facts.lines(collection),
        settings=[
            (
                f"{one.subject.model}, {one.load}",
                json.dumps(one.reports[0].manifest.settings, indent=1, ensure_ascii=False),
            )
            for one in measured
        ],
    )


def _subtitle(collection: Collection) -> str:
    known = dict(facts.lines(collection))
    commit = known.get("commit", "")[:7] or "unknown"
    where = ", ".join(
        text for text in (known.get("processor"), f"{known.get('cores', '?')} cores") if text
    )
    return f"{summary.describe(collection)} · {where} · commit {commit} · {known['measured'][:16]}"


def _cards(measured: Sequence[Configuration], appearance: Mapping[Subject, Look]) -> list[_Card]:
    cards = []
    for headline in summary.headlines(measured):
        look = appearance[headline.subject]
        own = [one for one in measured if one.subject == headline.subject]
        valid = sum(one.valid for one in own)
        text = "VALID" if valid == len(own) else f"{valid} of {len(own)} VALID"
        cards.append(
            _Card(
                swatch=Legend("", mark=look.colour, shape=look.shape),
                colour=look.colour,
                label=look.label,
                verdict=Verdict(text, valid == len(own)),
                figures=headline.figures,
            )
        )
    return cards


def _groups(measured: Sequence[Configuration], appearance: Mapping[Subject, Look]) -> list[_Group]:
    """Return all plots by section, those without a drawing included."""
    return [
        _Group(
            "Latency and load",
            [
                rates.over_rate(measured, appearance),
                rates.goodput(measured, appearance),
                latency.per_batch(measured, appearance),
            ],
        ),
        _Group("Latency distribution", latency.distributions(measured, appearance)),
        _Group(
            "Accuracy of the timed answers",
            [
                *accuracy.pareto(measured, appearance),
                accuracy.by_class(measured, appearance),
                *accuracy.confusions(measured, appearance),
            ],
        ),
        _Group("Latency over time", latency.over_time(measured, appearance)),
    ]


def _drawn(groups: Sequence[_Group]) -> list[_Group]:
    """Return the sections with the plots that have a drawing; a section without any is left out."""
    drawn = (
        _Group(group.title, [figure for figure in group.figures if figure.drawing is not None])
        for group in groups
    )
    return [group for group in drawn if group.figures]
