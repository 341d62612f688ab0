import copy
import csv
import json
import re
from html.parser import HTMLParser

import load_reports
import numpy as np
import pytest

from loadtest.report_schema import ReportError
from loadtest.reports import facts, summary
from loadtest.reports.collection import merge, read, single
from loadtest.reports.configurations import (
    accuracy,
    configurations,
    confusion,
    merged_histogram,
    subject_labels,
)
from loadtest.reports.measures import MEASURES, Spread
from loadtest.reports.pages import files, html_page, markdown_page, terminal
from loadtest.reports.plots import rates
from loadtest.reports.plots.figures import looks

HOSTILE = 'no such model <img src="http://x/y.png" onerror=alert(1)> | "quoted"\nsecond\x00line'
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
def matrix():
    """A whole matrix, with a capacity search in it."""
    search = load_reports.capacity([(100, True, 3), (400, False, 30), (200, True, 9)])
    return load_reports.collection([*load_reports.matrix(), search], name="both <models>")


@pytest.fixture(scope="module")
def page(matrix) -> str:
    """report.html of it."""
    return html_page.render(matrix)


def hostile():
    """A run with a server's message that tries to be markup."""
    report = load_reports.report(name=HOSTILE, reasons=(HOSTILE,))
    report["errors"] = {"NOT_FOUND": {"count": 3, "first_message": HOSTILE}}
    report["warnings"] = [HOSTILE]
    return report


def test_a_run_is_written_in_four_forms_and_read_back(tmp_path):
    """report.json is the report itself; CSV, Markdown and HTML lie beside it."""
    report = load_reports.report()

    files.write_run(report, tmp_path / "run")

    assert {path.name for path in (tmp_path / "run").iterdir()} == set(files.NAMES)
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == report
    assert read(tmp_path / "run")["results"][0]["report"] == report


def test_a_collection_is_read_back_from_its_file_and_its_folder(tmp_path, matrix):
    """Both give every result, and the folder in which a run's own files are."""
    document = copy.deepcopy(matrix)
    document["results"][0]["folder"] = "runs/001"
    files.write(document, tmp_path)

    by_file, by_folder = read(tmp_path / "report.json"), read(tmp_path)

    assert by_file == by_folder
    assert [one["report"] for one in by_file["results"]] == [
        one["report"] for one in matrix["results"]
    ]
    assert by_file["results"][0]["folder"] == str(tmp_path / "runs/001")


def test_a_folder_of_runs_is_read_as_one_collection(tmp_path):
    """Repeats measured one by one lie in folders of their own."""
    for number in range(3):
        files.write_run(load_reports.report(seed=number), tmp_path / f"run-{number}")

    document = read(tmp_path)

    assert len(document["results"]) == 3
    assert len(configurations(document["results"])) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "cannot read", id="missing"),
        pytest.param("{", "cannot read", id="no-json"),
        pytest.param("[]", "schema_version None", id="another-document"),
        pytest.param('{"schema_version": 1}', "schema_version 1, expected 2", id="older"),
        pytest.param(
            '{"schema_version": 2, "results": [], "stop_reason": "interrupted"}',
            "no results: interrupted",
            id="empty",
        ),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, content, words):
    """The message names the file and what is wrong with it."""
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ReportError, match=re.escape(str(file))) as refused:
        read(file)

    assert words in str(refused.value)


def test_a_folder_without_reports_is_refused(tmp_path):
    """Neither it nor its folders hold one."""
    with pytest.raises(ReportError, match=r"holds no report\.json"):
        read(tmp_path)


def test_repeats_of_a_configuration_are_grouped_in_the_order_they_came(matrix):
    """13 loads on three subjects, three repeats each, and one capacity search."""
    groups = configurations(matrix["results"])

    assert [len(group.results) for group in groups] == [3] * 39 + [1]
    assert str(groups[2].load) == "Server, 360 requests/s"
    assert str(groups[-1].load) == "find-capacity, p99 within 15 ms"


def test_different_targets_transports_and_precisions_are_no_repeats():
    """Whatever differs in what answers makes a configuration of its own."""
    reports = [
        load_reports.report(),
        load_reports.report(precision="w8"),
        load_reports.report(transport="tfs-rest"),
        load_reports.report(target="elsewhere:8500"),
    ]

    groups = configurations(load_reports.collection(reports, target=None)["results"])

    labels = subject_labels([group.subject for group in groups])
    assert list(labels.values()) == [
        "simcnn fp32 tfs-grpc localhost:8500",
        "simcnn w8 tfs-grpc localhost:8500",
        "simcnn fp32 tfs-rest localhost:8500",
        "simcnn fp32 tfs-grpc elsewhere:8500",
    ]


def test_a_spread_is_of_the_values_that_are_there():
    """Median, lowest, highest and number; None where nothing was measured."""
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0, n=3)
    assert Spread.of([None]) is None


def test_accuracy_over_repeats_counts_each_image_once_in_the_interval():
    """Three passes over the same images are no more certain than one."""
    reports = [load_reports.report(n=1000) for _ in range(3)]

    together, alone = accuracy(reports), accuracy(reports[:1])

    assert together.images == 3000
    assert (together.top1, together.low, together.high) == (alone.top1, alone.low, alone.high)


def test_accuracy_counts_whole_passes_alone_where_there_are_any():
    """Beside a run that asks each image once, one that asks some twice does not count."""
    whole = load_reports.report(n=1000)
    uneven = load_reports.report(n=1000)
    uneven["accuracy"] |= {"n": 1500, "correct": 1500, "distinct_images": 1000}

    together, alone = accuracy([whole, uneven]), accuracy([uneven])

    assert (together.top1, together.images) == (accuracy([whole]).top1, 1000)
    assert alone.top1 == 1


def test_histograms_and_confusions_of_repeats_add_up():
    """Percentiles of the merged histogram are those of all latencies together."""
    reports = [load_reports.report(seed=seed, latency_ms=1 + seed, n=500) for seed in range(3)]

    merged, counts = merged_histogram(reports), np.array(confusion(reports))

    assert merged.total_count == 1500
    assert merged.max_value == pytest.approx(
        1000 * max(report["latency_ms"]["max"] for report in reports), rel=2e-3
    )
    assert counts.sum() == 1500
    assert counts.diagonal().sum() == sum(report["accuracy"]["correct"] for report in reports)


def test_an_empty_result_is_reported_as_well():
    """A run without one answer has no percentile, no accuracy, no histogram: and a page."""
    report = load_reports.empty()

    text = html_page.render(single(report)) + markdown_page.render(single(report))

    assert "INVALID" in text
    assert "n/a" in text
    assert "Latency over the offered rate: </b>" in text
    assert "nothing answered" in terminal.text(report)


def test_the_table_has_medians_with_their_range():
    """p50 of three repeats, and the verdict over them."""
    reports = [load_reports.report(n=2000) for _ in range(3)]
    for report, p50_ms in zip(reports, (2.5, 1.25, 3.0), strict=True):
        report["latency_ms"]["p50"] = p50_ms
    group = configurations(load_reports.collection(reports)["results"])[0]

    row = summary.rows([group])[0]

    assert row.name == ("simcnn fp32", "SingleStream")
    assert row.figures[:2] == ("6,000 in 3", "2.50 (1.25 to 3.00)")
    assert row.verdict.text == "VALID"


def test_one_invalid_repeat_is_seen_in_the_verdict_with_its_reason():
    """A configuration is as good as its worst repeat."""
    reports = [load_reports.report(), load_reports.report(reasons=("too few answers",))]
    group = configurations(load_reports.collection(reports)["results"])[0]

    shown, notes = summary.verdict(group), summary.complaints([group])

    assert shown == summary.Verdict("1 of 2 VALID", valid=False)
    assert notes == [
        summary.Note("INVALID: too few answers", "simcnn fp32, SingleStream", bad=True)
    ]


def test_notes_that_differ_in_numbers_alone_are_one():
    """Every run of a busy machine warns of another load average; the reader wants one line."""
    reports = [load_reports.report(kind="users", users=users) for users in (1, 2, 3, 3)]
    for number, report in enumerate(reports):
        report["warnings"] = [f"load average {number}.5 on 2 cores"]

    notes = summary.complaints(configurations(load_reports.collection(reports)["results"]))

    assert notes == [
        summary.Note(
            "load average 0.5 on 2 cores",
            "simcnn fp32, users 1; simcnn fp32, users 2 and 1 more configurations (4 runs)",
            bad=False,
        )
    ]


def test_headlines_prefer_the_capacity_that_was_searched(matrix):
    """SingleStream's latency, the most images a second, and the rate within the bound."""
    lines = summary.headlines(configurations(matrix["results"]))

    words = {text: value for value, text in lines[0].figures}
    assert [line.label for line in lines] == ["simcnn fp32", "resnet50 fp32", "resnet50 w8"]
    assert words["most with p99 within 15 ms"] == "200 requests/s"
    assert words["p50 / p99, SingleStream"].endswith(" ms")


def test_a_capacity_that_was_not_confirmed_says_so():
    """The headline does not promise what no longer run has shown."""
    report = load_reports.capacity([(100, True, 3), (200, False, 30)])
    report["capacity"]["confirmed"] = False

    lines = summary.headlines(configurations(single(report)["results"]))

    assert ("100 requests/s", "most with p99 within 15 ms, not confirmed") in lines[0].figures


def test_steps_of_a_search_at_nearly_the_same_rate_are_one_point():
    """Five steps at three rates are three points; the bars show how the near ones scatter."""
    steps = [(100, True, 3), (400, False, 30), (200, True, 9), (205, True, 5), (210, False, 20)]
    found = configurations(single(load_reports.capacity(steps))["results"])

    drawing = rates.over_rate(found, looks(found)).drawing

    marks = [mark for mark in drawing.iter() if mark.get("class") == "mark m0"]
    titles = [title.text for mark in marks for title in mark.iter("title")]
    assert len(titles) == 2 * 3
    assert any("205 requests/s: 9.000 ms (median of 3; 5.000 to 20.000)" in it for it in titles)


def test_csv_has_a_row_for_every_run(tmp_path, matrix):
    """One line a run with its repeat counted, unknown values empty, line breaks kept inside."""
    document = load_reports.collection([hostile(), *load_reports.matrix()[:3]])

    files.write(document, tmp_path)

    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert [row["repeat"] for row in rows] == ["1", "2", "1", "1"]
    assert rows[0]["reasons"] == HOSTILE
    assert rows[0]["p99_9_ms"] == ""
    assert float(rows[1]["p50_ms"]) == document["results"][1]["report"]["latency_ms"]["p50"]
    assert rows[1]["server_memory_bytes"] == str(200 * 2**20)
    assert rows[1]["onnxruntime"] == "1.32.0"


def test_markdown_tables_survive_a_servers_message():
    """Bars and line breaks do not end a cell."""
    text = markdown_page.render(single(hostile()))

    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    widths = [{len(re.findall(r"(?<!\\)\|", line)) for line in lines} for lines in tables]
    assert text.startswith("# Load test no such model")
    assert [len(width) for width in widths] == [1] * 4
    assert "<img" not in text
    assert "\\| " in text


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
    text = html_page.render(single(hostile()))

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


def test_the_manifest_names_hardware_versions_commit_and_data(matrix):
    """What every figure needs to be believed, differing values side by side."""
    other = load_reports.report(commit="f" * 40)
    document = merge([matrix, load_reports.collection([other])])

    known = dict(facts.lines(document))

    assert known["commit"] == f"{matrix['results'][0]['report']['manifest']['git_commit']}; " + (
        "f" * 40
    )
    assert known["processor"] == "Imaginary CPU @ 2.0 GHz"
    assert known["server's versions"] == "onnxruntime 1.32.0"
    assert "python 3.11.7" in known["versions"]
    assert "SHA-256 e54a434e" in known["test images"]
    assert known["target"] == "cpu (python -m serving --device=cpu)"


def test_the_terminal_gives_the_verdict_first():
    """INVALID and why, before any figure; every line of the run's own."""
    report = load_reports.report(kind="server", rate=300, floor=True, reasons=("too short",))

    lines = terminal.text(report).splitlines()

    assert lines[0].split() == ["verdict", "INVALID"]
    assert lines[1].strip() == "too short"
    assert any(line.startswith("goodput") for line in lines)
    assert any("p99.9 n/a (needs 6,636)" in line for line in lines)


def test_every_measure_reads_every_result(matrix):
    """No measure stumbles over what a result does not have."""
    results = [*matrix["results"][:4], *single(load_reports.empty())["results"]]

    values = [measure.value(result) for measure in MEASURES.values() for result in results]

    assert all(value is None or value >= 0 for value in values)
