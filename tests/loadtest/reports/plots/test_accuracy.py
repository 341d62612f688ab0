from sample_results import load_reports

from loadtest.reports.configurations import configurations
from loadtest.reports.plots import accuracy
from loadtest.reports.plots.frame import looks


def test_one_model_is_a_sentence_and_no_plot():
    """For a single model its figures are given in a sentence instead of a plot."""
    found = configurations(load_reports.collection([load_reports.report()]).results)

    figures = accuracy.pareto(found, looks(found))

    assert [figure.drawing for figure in figures] == [None, None]
    assert figures[0].caption.startswith("one point only, simcnn fp32, SingleStream: ")
    assert " ms p99, top-1 " in figures[0].caption
    assert " images/s, top-1 " in figures[1].caption


def test_two_models_are_a_plot():
    """For two models accuracy is plotted against speed."""
    reports = [load_reports.report(), load_reports.report(model="resnet50")]
    found = configurations(load_reports.collection(reports).results)

    assert all(figure.drawing for figure in accuracy.pareto(found, looks(found)))
