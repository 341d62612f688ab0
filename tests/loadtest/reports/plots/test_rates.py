import load_reports

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
