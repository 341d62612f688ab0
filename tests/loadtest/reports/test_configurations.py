import numpy as np
import pytest
from sample_results import load_reports

from loadtest.reports.configurations import (
    UNKNOWN,
    Subject,
    accuracy,
    configurations,
    confusion,
    merged_histogram,
    subject_labels,
    which_repeats,
)


def test_repeats_of_a_configuration_are_grouped_in_the_order_they_came(matrix):
    """13 loads on three subjects, three repeats each, and one capacity search."""
    groups = configurations(matrix.results)

    assert [len(group.results) for group in groups] == [3] * 39 + [1]
    assert str(groups[2].load) == "Server, 360 requests/s"
    assert str(groups[-1].load) == "find-capacity, p99 within 15 ms"


def test_different_loads_have_different_names():
    """Two loads that differ only in what a name leaves out have this in their names."""
    wide = load_reports.changed(
        load_reports.report(kind="offline", batch=8),
        {"scenario.in_flight_cap": 4, "scenario.connections": 2},
    )
    reports = [load_reports.report(kind="offline", batch=8), wide, load_reports.report()]

    groups = configurations(load_reports.collection(reports).results)

    assert [str(group.load) for group in groups] == [
        "Offline, 64 in flight, 4 connections, batch 8",
        "Offline, 4 in flight, 2 connections, batch 8",
        "SingleStream",
    ]


@pytest.mark.parametrize(
    ("numbers", "count", "text"),
    [
        ([1], 1, ""),
        ([2], 3, "repeat 2 of 3"),
        ([1, 3], 4, "repeats 1 and 3 of 4"),
        ([1, 2, 4], 4, "repeats 1, 2 and 4 of 4"),
        ([1, 2], 2, "all 2 repeats"),
    ],
)
def test_repeats_are_named_by_their_numbers(numbers, count, text):
    """The words name each repeat; a configuration of one run needs none."""
    assert which_repeats(numbers, count) == text


def test_different_targets_transports_and_precisions_are_no_repeats():
    """Whatever differs in what answers makes a configuration of its own."""
    reports = [
        load_reports.report(),
        load_reports.report(precision="w8"),
        load_reports.report(transport="tfs-rest"),
        load_reports.report(target="elsewhere:8500"),
    ]

    groups = configurations(load_reports.collection(reports, target=None).results)

    labels = subject_labels([group.subject for group in groups])
    assert list(labels.values()) == [
        "simcnn fp32 tfs-grpc localhost:8500",
        "simcnn w8 tfs-grpc localhost:8500",
        "simcnn fp32 tfs-rest localhost:8500",
        "simcnn fp32 tfs-grpc elsewhere:8500",
    ]


def test_labels_leave_out_what_a_server_does_not_say():
    """A server without version, precision and provider is named by model and target."""
    says = Subject("simcnn", "1", "fp32", "CPUExecutionProvider", "kserve-grpc", "here")
    silent = Subject("simcnn", UNKNOWN, UNKNOWN, UNKNOWN, "kserve-grpc", "there")

    labels = subject_labels([says, silent])

    assert labels == {says: "simcnn v1 fp32 CPU here", silent: "simcnn there"}


def test_accuracy_over_repeats_counts_each_image_once_in_the_interval():
    """Three passes over the same images are no more certain than one."""
    reports = [load_reports.report(n=1000) for _ in range(3)]

    together, alone = accuracy(reports), accuracy(reports[:1])

    assert together.images == 3000
    assert (together.top1, together.low, together.high) == (alone.top1, alone.low, alone.high)


def test_accuracy_counts_whole_passes_alone_where_there_are_any():
    """Beside a run that asks each image once, one that asks some twice does not count."""
    whole = load_reports.report(n=1000)
    uneven = load_reports.changed(
        whole,
        {"accuracy.n": 1500, "accuracy.correct": 1500, "accuracy.distinct_images": 1000},
    )

    together, alone = accuracy([whole, uneven]), accuracy([uneven])

    assert (together.top1, together.images) == (accuracy([whole]).top1, 1000)
    assert alone.top1 == 1


def test_histograms_and_confusions_of_repeats_add_up():
    """Percentiles of the merged histogram are those of all latencies together."""
    reports = [load_reports.report(seed=seed, latency_ms=1 + seed, n=500) for seed in range(3)]

    merged, counts = merged_histogram(reports), np.array(confusion(reports))

    assert merged.total_count == 1500
    assert merged.max_value == pytest.approx(
        1000 * max(report.latency_ms.max for report in reports), rel=2e-3
    )
    assert counts.sum() == 1500
    assert counts.diagonal().sum() == sum(report.accuracy.correct for report in reports)
