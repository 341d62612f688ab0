from sample_results import load_reports

from loadtest.reports.collection import single
from loadtest.reports.configurations import (
    configurations,
)
from loadtest.reports.plots import rates
from loadtest.reports.plots.frame import looks


def test_steps_of_a_search_at_nearly_the_same_rate_are_one_point():
    """Five steps at three rates are three points; the bars show how the near ones scatter."""
    steps = [(100, True, 3), (400, False, 30), (200, True, 9), (205, True, 5), (210, False, 20)]
    found = configurations(single(load_reports.capacity(steps)).results)

    drawing = rates.over_rate(found, looks(found)).drawing

    titles = [one.title for one in drawing.shapes if one.attributes.get("class") == "mark m0"]
    assert len(titles) == 2 * 3
    assert any("205 requests/s: 9.000 ms (median of 3; 5.000 to 20.000)" in it for it in titles)


def test_steps_that_were_cut_short_are_hollow_and_not_joined():
    """The line goes through the full steps alone; legend and markers say what the rest is."""
    steps = [(100, True, 3), (400, False, 30), (200, True, 9), (300, False, 20)]
    found = configurations(single(load_reports.capacity(steps, cut_short=(1, 3))).results)

    for figure in (rates.over_rate(found, looks(found)), rates.goodput(found, looks(found))):
        lines = [
            one.attributes["d"]
            for one in figure.drawing.shapes
            if one.attributes.get("class", "").startswith("line m0")
        ]
        marks = [one for one in figure.drawing.shapes if one.title]
        faint = [one.title for one in marks if one.attributes["class"] == "mark m0 hollow faint"]
        assert [line.count("L") for line in lines] == [1] * len(lines)
        assert {title.partition(" requests/s")[0][-3:] for title in faint} == {"300", "400"}
        assert all(title.endswith("; cut short") for title in faint)
        assert len(marks) == 2 * len(faint)
        assert "search step cut short, not joined by the line" in [it.text for it in figure.legend]


def test_a_step_that_was_cut_short_is_no_repeat_of_a_full_one():
    """A step was cut short; the one that passed at the same rate is a point of its own."""
    steps = [(100, True, 3), (200, False, 90), (200, True, 9), (400, False, 30)]
    found = configurations(single(load_reports.capacity(steps, cut_short=(1,))).results)

    drawing = rates.over_rate(found, looks(found)).drawing

    titles = [one.title for one in drawing.shapes if "200 requests/s" in one.title]
    assert [title.rpartition(": ")[2] for title in titles] == [
        *("3.000 ms", "30.000 ms; cut short", "9.000 ms", "90.000 ms; cut short")
    ]


def test_a_search_of_full_steps_has_no_entry_for_others():
    """The legend explains what the plot has."""
    found = configurations(
        single(load_reports.capacity([(100, True, 3), (400, False, 30)])).results
    )

    legend = rates.over_rate(found, looks(found)).legend

    assert not any("cut short" in entry.text for entry in legend)


def test_one_rate_is_a_sentence_and_no_plot():
    """The figures of the only rate stand in the text; repeats of it are the same point."""
    reports = [load_reports.report(kind="server", rate=300, seed=seed) for seed in range(3)]
    found = configurations(load_reports.collection(reports).results)

    latency, good = rates.over_rate(found, looks(found)), rates.goodput(found, looks(found))

    p50, p99 = found[0].spread("p50_ms").median, found[0].spread("p99_ms").median
    assert latency.drawing is None
    where = "one point only, simcnn fp32, Server, 300 requests/s"
    assert latency.caption == f"{where}: p50 {p50:,.3f} ms, p99 {p99:,.3f} ms."
    assert good.drawing is None
    assert good.caption.endswith(" good answers/s.")


def test_one_rate_of_each_of_two_models_is_a_plot():
    """Two points compare something."""
    reports = [load_reports.report(kind="server", rate=300, model=name) for name in "ab"]
    found = configurations(load_reports.collection(reports).results)

    assert rates.over_rate(found, looks(found)).drawing is not None
    assert rates.goodput(found, looks(found)).drawing is not None
