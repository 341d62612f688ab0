import re
from html.parser import HTMLParser

import load_reports
import pytest

from loadtest.reports.collection import single
from loadtest.reports.pages import html_page, markdown_page, terminal

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page is made of, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """An element begins."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """It ends, and is the one that began last."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Text for people."""
        self.text += data


@pytest.fixture(scope="module")
def page(matrix) -> str:
    """report.html of it."""
    return html_page.render(matrix)


def test_an_empty_result_is_reported_as_well():
    """A run without one answer has no percentile, no accuracy, no histogram: and a page."""
    report = load_reports.empty()

    text = html_page.render(single(report)) + markdown_page.render(single(report))

    assert "INVALID" in text
    assert "n/a" in text
    assert "Latency over the offered rate: </b>" in text
    assert "nothing answered" in terminal.text(report)


def test_the_page_asks_nothing_of_the_network(page):
    """No script, no address, nothing to fetch; the policy forbids what slips through."""
    parsed = Page(page)

    named = {name for name, _ in parsed.attributes}
    assert not {"script", "link", "img", "iframe", "image", "use"} & set(parsed.tags)
    assert not {"src", "href", "srcset", "style"} & named
    assert not any(name.startswith("on") for name in named)
    assert not re.search(r"url\(|@import|https?://", page)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.attributes


def test_the_page_shows_text_as_text():
    """Markup in names and messages is shown, not obeyed; forbidden characters are replaced."""
    text = html_page.render(single(load_reports.hostile()))

    parsed = Page(text)
    assert "img" not in parsed.tags
    assert '<img src="http://x/y.png" onerror=alert(1)>' in parsed.text
    assert "\x00" not in text


def test_the_page_has_every_plot_with_units(page):
    """All plots of a full matrix are drawn, each with labelled axes."""
    parsed = Page(page)

    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert titles[:3] == [
        "Latency over the offered rate",
        "Goodput over the offered rate",
        "Latency over throughput by batch size",
    ]
    assert sum(title.startswith("Latency distribution") for title in titles) == 5
    assert {"Accuracy against latency", "Accuracy against throughput"} <= set(titles)
    assert {"Accuracy by class", "Latency over time: resnet50 w8"} <= set(titles)
    assert sum(title.startswith("Confusion: ") for title in titles) == 3
    for label in ("latency (ms)", "offered rate (requests/s)", "top-1 (%)", "time (s)"):
        assert label in parsed.text
    assert "bound 15 ms" in parsed.text
    assert "null server: client and network alone" in parsed.text
    assert "Plots left out" not in parsed.text


def test_colour_is_the_model_and_shape_the_precision(page):
    """The w8 model has squares in its fp32 sister's colour; another model another colour."""
    legend = page[page.index("Goodput over the offered rate") :].partition("</ul>")[0]

    entries = {
        text: mark
        for mark, text in re.findall(
            r'<(?:circle|rect|path) class="mark (m\d)"[^>]*></(?:circle|rect|path)></svg>([^<]+)',
            legend,
        )
    }
    assert entries == {"simcnn fp32": "m0", "resnet50 fp32": "m1", "resnet50 w8": "m1"}
    assert '<rect class="mark m1"' in legend


def test_a_plot_without_data_is_named_with_the_reason():
    """Of a single closed-loop run there is nothing to show over the offered rate."""
    parsed = Page(html_page.render(single(load_reports.report())))

    assert "Latency over the offered rate: No open-loop run" in parsed.text
    assert "Goodput over the offered rate: No open-loop run" in parsed.text


def test_invalid_points_are_hollow(page):
    """The one load whose client was late is drawn hollow and says so."""
    marks = re.findall(r'class="mark m0 hollow"[^>]*><title>([^<]*)</title>', page)

    assert marks
    assert all("Server, 1,710 requests/s" in mark and "INVALID" in mark for mark in marks)
