"""report.html: one page without scripts or requests, with tables, plots and the manifest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.report_schema import Collection
from loadtest.reports import availability, facts, findings, search_steps, summary, traffic, unknown
from loadtest.reports.configurations import Configuration, Subject, configurations
from loadtest.reports.findings import Verdict
from loadtest.reports.plots import accuracy, latency, rates
from loadtest.reports.plots import traffic as traffic_plots
from loadtest.reports.plots.frame import Look, looks
from training.pages.drawing import Figure, Legend
from training.pages.rendering import render as render_template

# Columns with numbers: of the table of results, and of the steps of a search.
_NUMBERS = range(3, 12)
_STEP_NUMBERS = (1, *range(3, 9))
_AVAILABILITY_NUMBERS = range(2, 7)
_PHASE_NUMBERS = range(1, len(traffic.PHASE_HEADS))
_MIX_NUMBERS = (0, 1, *range(3, len(traffic.MIX_HEADS)))


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


def render(collection: Collection, report_sha256: str) -> str:
    """Return the page.

    Args:
        collection: The runs.
        report_sha256: Digest of the report.json beside the page.
    """
    measured = configurations(collection.results)
    appearance = looks(measured)
    groups = _groups(measured, appearance)
    failed_gates = findings.failed_gates(measured, collection.stop_reason)
    figures = [figure for group in groups for figure in group.figures]
    cost_heads, costs = summary.costs(measured)
    rows = [[*row.name, row.verdict, *row.figures] for row in summary.rows(measured)]
    outages = availability.table(measured)
    mixes = traffic.mix_rows(collection)
    return render_template(
        "loadtest.reports.pages",
        "report.html",
        name=collection.name,
        subtitle=_subtitle(collection),
        stop_reason=collection.stop_reason,
        not_measured=collection.not_measured,
        cards=_cards(measured, appearance),
        client_limits=findings.client_limits(measured),
        failed_gates=failed_gates,
        failed_names=dict.fromkeys(note.text.partition(":")[0] for note in failed_gates),
        gate_heads=findings.gate_heads(measured),
        gates=[row.cells for row in findings.gates(measured)],
        notes=findings.complaints(measured),
        groups=_drawn(groups),
        left_out=[figure for figure in figures if figure.drawing is None],
        key=" ".join(filter(None, [summary.KEY, unknown.note(rows)])),
        heads=summary.heads(measured),
        numbers=_NUMBERS,
        rows=rows,
        searches=search_steps.tables(measured),
        step_key=search_steps.KEY,
        step_numbers=_STEP_NUMBERS,
        mix_heads=traffic.MIX_HEADS,
        mix_key=" ".join(filter(None, [traffic.MIX_KEY, unknown.note(mixes)])),
        mix_numbers=_MIX_NUMBERS,
        mixes=mixes,
        phase_heads=traffic.PHASE_HEADS,
        phase_key=traffic.PHASE_KEY,
        phase_numbers=_PHASE_NUMBERS,
        phases=traffic.phase_tables(measured),
        availability_heads=availability.HEADS,
        availability_key=" ".join(filter(None, [availability.KEY, unknown.note(outages)])),
        availability_numbers=_AVAILABILITY_NUMBERS,
        availability=outages,
        cost_heads=cost_heads,
        costs=costs,
        cost_note=unknown.note(costs),
        facts=facts.lines(collection),
        settings=[
            (
                f"{one.subject.model}, {one.load}",
                json.dumps(one.reports[0].manifest.settings, indent=1, ensure_ascii=False),
            )
            for one in measured
        ],
        digests=[("report.json", report_sha256), *facts.digests(collection)],
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
        text = f"{valid} of {len(own)} VALID"
        if valid == len(own) or len(own) == 1:
            text = summary.verdict(own[0]).text
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
        _Group(
            "Latency over time",
            [
                *latency.over_time(measured, appearance),
                *traffic_plots.over_time(measured, appearance),
            ],
        ),
    ]


def _drawn(groups: Sequence[_Group]) -> list[_Group]:
    """Return the sections with the plots that have a drawing; a section without any is left out."""
    drawn = (
        _Group(group.title, [figure for figure in group.figures if figure.drawing is not None])
        for group in groups
    )
    return [group for group in drawn if group.figures]
