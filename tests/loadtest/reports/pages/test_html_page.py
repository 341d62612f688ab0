import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.reports.collection import single
from loadtest.reports.pages import html_page, markdown_page, terminal
from loadtest.settings.config import GateConfig
from loadtest.verdict import gates

SHA256 = "ab" * 32
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
    return html_page.render(matrix, SHA256)


def test_an_empty_result_is_reported_as_well():
    """A run without one answer has no percentile, no accuracy, no histogram: and a page."""
    report = load_reports.empty()

    text = html_page.render(single(report), SHA256)
    text += markdown_page.render(single(report), SHA256)

    assert "INVALID" in text
    assert "n/a" in text
    assert "Latency over the offered rate: </b>" in text
    assert "nothing answered" in terminal.text(report)


def test_what_is_missing_has_its_reason_on_every_page():
    """n/a has its reason as the cell's hover text, below the table, and inline in the terminal."""
    report = load_reports.report(n=300, slo_ms=None)

    page = html_page.render(single(report), SHA256)
    lines = markdown_page.render(single(report), SHA256)

    why = "p99 needs 662 answers in a run"
    assert f'<span title="{why}">n/a</span>' in page
    assert f"n/a: {why}; goodput needs a latency bound (--slo-ms); p99.9 needs 6,636" in page
    assert f"n/a: {why}; goodput needs a latency bound (--slo-ms); p99.9 needs 6,636" in lines
    assert f"p50 / p99, SingleStream; n/a: {why}" in page  # the headline


def test_no_page_has_a_figure_missing_without_a_reason():
    """Of a run without answers, every n/a of the pages is explained and the terminal's, too."""
    report = load_reports.changed(load_reports.empty(), {"client.cpu_us_per_request": None})

    page, text = html_page.render(single(report), SHA256), terminal.text(report)

    assert "n/a" in page
    assert not re.search(r"<td[^>]*>n/a<", page)
    assert "n/a: " in markdown_page.render(single(report), SHA256)
    assert text.count("n/a") == text.count("n/a (") > 10


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
    text = html_page.render(single(load_reports.hostile()), SHA256)

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
    parsed = Page(html_page.render(single(load_reports.report()), SHA256))

    assert "Latency over the offered rate: No open-loop run" in parsed.text
    assert "Goodput over the offered rate: No open-loop run" in parsed.text


def test_invalid_points_are_hollow(page):
    """The one load whose client was late is drawn hollow and says so."""
    marks = re.findall(r'class="mark m0 hollow"[^>]*><title>([^<]*)</title>', page)

    assert marks
    assert all("Server, 1,710 requests/s" in mark for mark in marks)
    assert all(mark.endswith("INVALID: check-0") for mark in marks)


def gated(report, **limits):
    """The report with its gates."""
    return replace(report, gates=gates.apply(report, GateConfig(**limits), None))


def test_the_head_says_that_the_client_was_the_limit():
    """Above the first figure, in HTML as in Markdown, and in no note."""
    document = single(load_reports.limited_by_client(load_reports.report()))

    head = html_page.render(document, SHA256).partition("</header>")[0]
    text = markdown_page.render(document, SHA256)

    assert "Limited by the client: the load generator could not keep up" in head
    assert "the busiest load generator used 93 % of a core" in head
    assert "Limited by the client: INVALID: the busiest" in text.partition("| model |")[0]
    assert 'class="notes"' not in html_page.render(document, SHA256)


def test_the_head_is_silent_about_a_client_that_kept_up(page):
    """Nothing of the kind above a run whose generator was idle most of the time."""
    assert "Limited by the client" not in page


def test_gates_are_a_table_and_failed_ones_are_in_the_head():
    """Passed gates are neither notes nor alarms."""
    report = gated(load_reports.report(top1=0.82), min_accuracy=0.9)

    text = html_page.render(single(report), SHA256)

    head, _, rest = text.partition("</header>")
    assert "Gates failed: accuracy</summary>" in head
    assert "accuracy: top-1" in head
    assert "errors" not in head
    rows = rest.partition("<h2>Gates</h2>")[2].partition("</table>")[0].split("<tr>")[2:]
    assert ["FAILED" in row for row in rows] == [True, False, False, False]
    assert "at least 90\N{NO-BREAK SPACE}%" in rows[0]
    assert 'class="notes"' not in text


def test_the_steps_of_a_search_are_a_table():
    """Those that were cut short say so."""
    steps = [(100, True, 3), (400, False, 30), (200, True, 9)]
    document = single(load_reports.capacity(steps, cut_short=(1,)))

    text, lines = html_page.render(document, SHA256), markdown_page.render(document, SHA256)

    table = text.partition("<h2>Steps of the search</h2>")[2].partition("</table>")[0]
    assert [row.count("cut short") for row in table.split("<tr>")[2:]] == [0, 1, 0]
    assert "n/a" not in text.partition("<h2>Steps of the search</h2>")[2].partition("<h2>")[0]
    assert "| bisect | 400.0 | cut short | 3.0 |" in lines


def test_digests_are_at_the_end(page):
    """Of the data, the model files and report.json, after everything else."""
    before, _, digests = page.partition("<summary>Digests (SHA-256)</summary>")

    assert not re.search("[0-9a-f]{64}", before)
    assert set(re.findall("[0-9a-f]{64}", digests)) == {
        SHA256,
        "7f23" * 16,
        "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304",
    }
    assert "<h2>" not in digests
    assert "<figure>" not in digests


def test_one_run_has_no_plot_of_one_point():
    """A page of a single load draws distributions and shares; its single figures are sentences."""
    parsed = Page(html_page.render(single(load_reports.report(kind="server", rate=300)), SHA256))
    text = html_page.render(single(load_reports.report(kind="server", rate=300)), SHA256)

    titles = re.findall(r"<h3>(.*?)</h3>", text)
    assert titles == [
        "Latency distribution, Server",
        "Accuracy by class",
        "Confusion: simcnn fp32",
        "Latency over time: simcnn fp32",
    ]
    assert "Accuracy against latency: one point only, simcnn fp32, Server" in parsed.text
