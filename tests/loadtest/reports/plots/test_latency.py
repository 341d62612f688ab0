import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.report_sections_schema import Window
from loadtest.reports.configurations import configurations
from loadtest.reports.plots import latency
from loadtest.reports.plots.frame import looks


def measured(*reports):
    """Return the configurations of reports."""
    return configurations(load_reports.collection(list(reports)).results)


def windows(*p50_ms, seconds=0.25, p99_ms=None):
    """Return buckets with these medians; None is a bucket with too few answers."""
    return [
        Window(
            t_seconds=number * seconds,
            seconds=seconds,
            scheduled=20,
            answered=20,
            errors=int(number == 1),
            p50_ms=value,
            p99_ms=p99_ms,
            max_ms=9.0,
        )
        for number, value in enumerate(p50_ms)
    ]


def over_time(found):
    """Return the only plot over time."""
    (figure,) = latency.over_time(found, looks(found))
    return figure


def paths(figure, style):
    """Return the paths of the lines with these classes."""
    wanted = f"line m0 {style}".strip()
    return [
        one.attributes["d"]
        for one in figure.drawing.shapes
        if one.attributes.get("class", "").strip() == wanted
    ]


def test_one_closed_loop_is_a_sentence_and_no_plot():
    """For a single closed loop throughput and median are given in a sentence."""
    found = measured(load_reports.report(kind="users", users=4))

    figure = latency.per_batch(found, looks(found))

    assert figure.drawing is None
    assert figure.caption.startswith("one point only, simcnn fp32, users 4: ")
    assert figure.caption.endswith(" ms.")
    assert " images/s, p50 " in figure.caption


def test_two_closed_loops_are_a_plot():
    """For two closed loops latency is plotted against the number of users."""
    found = measured(*(load_reports.report(kind="users", users=users) for users in (1, 4)))

    assert latency.per_batch(found, looks(found)).drawing is not None


@pytest.mark.parametrize("seconds", [0.25, 1.0])
def test_the_axis_of_time_names_the_width_of_the_buckets(seconds):
    """The axis names the width of the buckets, and the tooltip of errors their start and end."""
    report = replace(load_reports.report(), windows=windows(1.0, 2.0, 3.0, seconds=seconds))

    figure = over_time(measured(report))

    texts = [one.text for one in figure.drawing.shapes]
    titles = [one.title for one in figure.drawing.shapes if one.title]
    assert f"time (s), in buckets of {seconds:g} s" in texts
    assert titles == [f"{seconds:g} to {2 * seconds:g} s: 1 errors"]


def test_a_bucket_without_a_median_interrupts_the_line():
    """A bucket without a median is a gap in the line; the last bucket has its full width."""
    report = replace(load_reports.report(), windows=windows(1.0, 2.0, None, 3.0))

    figure = over_time(measured(report))

    first, second = paths(figure, "thin")
    assert first.count("H") == 2
    assert second.count("H") == 1
    assert second.partition("V")[0].endswith("H426")  # the right end of the axis


def test_a_missing_p99_is_explained():
    """If all buckets have too few answers for a p99, it has no line, and the caption says why."""
    run = load_reports.report()
    without = over_time(measured(replace(run, windows=windows(1.0, 2.0))))
    has = over_time(measured(replace(run, windows=windows(1.0, 2.0, p99_ms=4.0))))

    assert "p99" not in [entry.text for entry in without.legend]
    assert "A p99 needs 662 answers in a bucket." in without.caption
    assert "p99" in [entry.text for entry in has.legend]
    assert "A p99 needs" not in has.caption


def test_one_bucket_is_no_plot():
    """A run of a single bucket has no plot over time."""
    found = measured(replace(load_reports.report(), windows=windows(1.0)))

    assert over_time(found).drawing is None
