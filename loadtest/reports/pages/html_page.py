"""report.html: one page without scripts or requests, with tables, plots and the manifest."""

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from loadtest.report_schema import Collection
from loadtest.reports import facts, summary
from loadtest.reports.configurations import Configuration, Subject, configurations
from loadtest.reports.markup import Child, Element, element, page
from loadtest.reports.plots import accuracy, latency, rates
from loadtest.reports.plots.chart import marker
from loadtest.reports.plots.frame import Figure, Legend, Look, looks

# Nothing may be fetched, not even by a browser that has its own ideas about a message's text.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(collection: Collection) -> str:
    """The page."""
    measured = configurations(collection.results)
    appearance = looks(measured)
    name = collection.name
    style = files("loadtest.reports.pages").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"Load test {name}"),
        element("style", style),
    )
    drawn, left_out = _figures(measured, appearance)
    body = element(
        "body",
        element(
            "header",
            element("h1", name),
            element("p", _subtitle(collection), class_="quiet"),
            _missing_runs(collection),
        ),
        _headlines(measured, appearance),
        _complaints(measured),
        *drawn,
        left_out,
        _results(measured),
        _manifest(collection, measured),
    )
    return page(element("html", head, body, lang="en"))


def _subtitle(collection: Collection) -> str:
    known = dict(facts.lines(collection))
    commit = known.get("commit", "")[:7] or "unknown"
    where = ", ".join(
        text for text in (known.get("processor"), f"{known.get('cores', '?')} cores") if text
    )
    return f"{summary.describe(collection)} · {where} · commit {commit} · {known['measured'][:16]}"


def _missing_runs(collection: Collection) -> Element | None:
    """Banner of runs that were not measured, with reasons; None if all were."""
    reason, missing = collection.stop_reason, collection.not_measured
    if reason is None and not missing:
        return None
    title = "Not measured" if reason is None else f"Ended early: {reason}"
    folded = {"open": ""} if len(missing) <= 3 else {}
    return element(
        "details",
        element("summary", f"{title} ({len(missing)} missing)"),
        element("ul", [element("li", text) for text in missing]),
        class_="alert",
        **folded,
    )


def _headlines(measured: Sequence[Configuration], appearance: dict[Subject, Look]) -> Element:
    cards = []
    for headline in summary.headlines(measured):
        look = appearance[headline.subject]
        own = [one for one in measured if one.subject == headline.subject]
        valid = sum(one.valid for one in own)
        badge = _badge(
            "VALID" if valid == len(own) else f"{valid} of {len(own)} VALID", valid == len(own)
        )
        figures = [
            element("div", element("dd", value), element("dt", words))
            for value, words in headline.figures
        ]
        title = element("h2", _swatch(Legend("", None, look.colour, look.shape)), look.label)
        cards.append(
            element(
                "article",
                element("div", title, badge, class_="head"),
                element("dl", figures),
                class_=f"card {look.colour}",
            )
        )
    return element("section", cards, class_="cards")


def _complaints(measured: Sequence[Configuration]) -> Element | None:
    found = summary.complaints(measured)
    if not found:
        return None
    invalid = sum(note.bad for note in found)
    items = [
        element(
            "li",
            element("b", f"{note.text} "),
            element("span", note.where, class_="quiet"),
            class_="bad" if note.bad else "plain",
        )
        for note in found
    ]
    title = f"{len(found)} note{'' if len(found) == 1 else 's'}"
    title += f", {invalid} of them a reason for INVALID" if invalid else ""
    folded = {"open": ""} if len(found) <= 3 else {}
    return element(
        "details", element("summary", title), element("ul", items), class_="notes", **folded
    )


def _figures(
    measured: Sequence[Configuration], appearance: dict[Subject, Look]
) -> tuple[list[Element], Element | None]:
    """Sections of plots, and a list of those that are left out with the reason."""
    groups: list[tuple[str, list[Figure]]] = [
        (
            "Latency and load",
            [
                rates.over_rate(measured, appearance),
                rates.goodput(measured, appearance),
                latency.per_batch(measured, appearance),
            ],
        ),
        ("Latency distribution", latency.distributions(measured, appearance)),
        (
            "Accuracy of the timed answers",
            [
                *accuracy.pareto(measured, appearance),
                accuracy.by_class(measured, appearance),
                *accuracy.confusions(measured, appearance),
            ],
        ),
        ("Latency over time", latency.over_time(measured, appearance)),
    ]
    sections = [
        element(
            "section",
            element("h2", title),
            element("div", [_figure(figure, figure.drawing) for figure in shown], class_="plots"),
        )
        for title, figures in groups
        if (shown := [figure for figure in figures if figure.drawing is not None])
    ]
    left_out = [figure for _, figures in groups for figure in figures if figure.drawing is None]
    if not left_out:
        return sections, None
    items = [element("li", element("b", f"{one.title}: "), one.caption) for one in left_out]
    section = element("section", element("h2", "Plots left out"), element("ul", items))
    return sections, section


def _figure(figure: Figure, drawing: Element | None) -> Element:
    entries = [element("li", _swatch(entry), entry.text) for entry in figure.legend]
    return element(
        "figure",
        element("h3", figure.title),
        element("ul", entries, class_="legend") if entries else None,
        drawing,
        element("figcaption", figure.caption),
    )


def _swatch(entry: Legend) -> Element:
    drawn: list[Child] = []
    if entry.line is not None:
        drawn.append(element("path", class_=f"line {entry.line}", d="M1 7H27"))
    if entry.mark is not None:
        drawn.append(marker(14, 7, entry.mark, entry.shape))
    return element("svg", drawn, class_="swatch", viewBox="0 0 28 14", aria_hidden="true")


def _results(measured: Sequence[Configuration]) -> Element:
    body: list[list[Child]] = [
        [*row.name, _badge(row.verdict.text, row.verdict.valid), *row.figures]
        for row in summary.rows(measured)
    ]
    return element(
        "section",
        element("h2", "All results"),
        element("p", summary.KEY, class_="quiet"),
        _table(summary.HEADS, body),
        element("h2", "Client and server"),
        _table(*summary.costs(measured)),
    )


def _table(heads: Sequence[str], body: Iterable[Sequence[Child]]) -> Element:
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [element("th", head) for head in heads])),
            element(
                "tbody", [element("tr", [element("td", cell) for cell in row]) for row in body]
            ),
        ),
        class_="scroll",
    )


def _manifest(collection: Collection, measured: Sequence[Configuration]) -> Element:
    rows = [
        element("tr", element("th", name), element("td", text))
        for name, text in facts.lines(collection)
    ]
    settings = [
        element(
            "details",
            element("summary", f"{one.subject.model}, {one.load}"),
            element("pre", _pretty(one.reports[0].manifest.settings)),
        )
        for one in measured
    ]
    return element(
        "section",
        element("h2", "How it was measured"),
        element("table", element("tbody", rows), class_="facts"),
        element(
            "details",
            element("summary", "Settings of every configuration"),
            settings,
        ),
    )


def _pretty(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=1, ensure_ascii=False)


def _badge(text: str, valid: bool) -> Element:
    return element("span", text, class_="badge valid" if valid else "badge invalid")
