"""Statistics of versions: from reports of batches, from a real server's counts, and summed."""

import asyncio
import time

import numpy as np
import pytest
from running.managers import fixed, model
from sample_models import tiny_models
from sample_results.metrics_pages import counted_manager

from serving.engine.batching.batch_report import BatchReport, Run
from serving.errors import InternalError, Unavailable
from serving.monitoring import metrics_sum, version_statistics
from serving.monitoring.counts import GRPC
from serving.monitoring.metrics_sum import MetricsSum
from serving.monitoring.run_statistics import MAX_SIZES, RunStatistics
from serving.monitoring.version_statistics import Duration


def report(*runs: Run, waits=(0.5,), taken=10.0, delivered=20.0) -> BatchReport:
    return BatchReport("s", waits, [1] * len(waits), runs, taken, delivered)


def counted(*reports: BatchReport) -> RunStatistics:
    statistics = RunStatistics()
    for one in reports:
        statistics.batch(one)
    return statistics


def test_each_request_of_a_batch_counts_its_stages():
    """The stages over requests have a batch's time once for each request, those over runs once."""
    statistics = counted(report(Run(8, 1, 11.0, 15.0), waits=(0.5, 2.0, 2.5)))

    assert statistics.requests == (3, 3.0, 12.0, 15.0)
    assert statistics.sizes == [(7, (1, 1.0, 4.0, 5.0))]
    assert (statistics.runs, statistics.rows) == (1, 7)
    assert statistics.last == 10.0


def test_a_request_that_shares_no_run_has_the_size_1():
    """A run without rows counts as one row, as in Triton."""
    statistics = counted(report(Run(None, 0, 11.0, 12.0)))

    assert (statistics.rows, dict(statistics.sizes).keys()) == (1, {1})


def test_runs_that_fail_are_left_out():
    """A failed batch counts nothing; the requests that run alone after it count once each."""
    batch = report(
        Run(5, 0, 11.0, 12.0, failed=True),
        Run(2, 0, 12.0, 13.0),
        Run(3, 0, 13.0, 14.0, failed=True),
        waits=(1.0, 1.0),
    )
    statistics = counted(batch)

    assert statistics.requests == (1, 1.0, 1.0, 6.0)
    assert statistics.sizes == [(2, (1, 1.0, 1.0, 6.0))]
    assert (statistics.runs, statistics.rows) == (1, 2)


def test_the_number_of_sizes_is_bounded():
    """Further batch sizes are counted but not listed, so that callers cannot fill the memory."""
    sizes = range(1, MAX_SIZES + 3)
    statistics = counted(*(report(Run(size, 0, 11.0, 12.0)) for size in sizes))

    assert [size for size, _ in statistics.sizes] == list(sizes)[:-2]
    assert (statistics.runs, statistics.rows) == (MAX_SIZES + 2, sum(sizes))
    assert statistics.requests.number == MAX_SIZES + 2


async def _serve(manager, metrics) -> None:
    """Answer two requests of one and three rows, and count two that fail."""
    await manager.update()
    servable = manager.catalog.servable("identity")
    for rows in (1, 3):
        with metrics.request("identity", "Predict", GRPC) as outcome:
            inputs = {"x": np.ones((rows, 3), np.float32)}
            await servable.predict("serving_default", inputs, ["y"])
            outcome.answered(servable, "serving_default")
    broken = InternalError("broken")
    for error in (broken, Unavailable("full")):
        with pytest.raises(type(error)), metrics.request("identity", "Predict", GRPC, 1):
            raise error
    for asked in ((7, None), (None, "stable")):  # of versions that are not loaded
        with pytest.raises(InternalError), metrics.request("identity", "Predict", GRPC, *asked):
            raise broken


@pytest.fixture
def collected(tmp_path):
    """The statistics of a version after known requests, as `collect` returns them."""
    tiny_models.identity(tmp_path)

    async def scenario():
        manager, metrics = counted_manager(fixed(model("identity", tmp_path / "identity")))
        await _serve(manager, metrics)
        found = version_statistics.collect(metrics)
        await manager.close()
        return found

    return asyncio.run(scenario())


def test_statistics_come_from_the_counts(collected):
    """Requests, failures, rows and times of a version are those of its counts."""
    (found,) = version_statistics.read(collected)

    assert (found.name, found.version) == ("identity", 1)
    assert (found.rows, found.runs) == (4, 2)
    assert (found.success.count, found.fail.count, found.queue.count) == (2, 2, 2)
    assert [size.size for size in found.sizes] == [1, 3]
    assert 0 <= time.time() * 1000 - found.last_inference_ms < 60_000
    assert found.success.ns > found.queue.ns + found.gathering.ns + found.running.ns > 0


def test_statistics_of_processes_are_summed(collected):
    """Sums of worker processes have counts and times added, and the latest inference."""
    (one,) = version_statistics.read(collected)
    sums = MetricsSum()
    again = metrics_sum.from_json(metrics_sum.to_json(collected))
    sums.heard(1, collected)
    sums.heard(2, again)
    (both,) = version_statistics.read(sums.total())
    sums.ended(2)
    (after,) = version_statistics.read(sums.total())

    assert both.rows == 2 * one.rows
    assert both.success.count == 2 * one.success.count
    assert both.running.ns == pytest.approx(2 * one.running.ns, abs=2)
    assert both.sizes[0].running.count == 2
    assert both.last_inference_ms == one.last_inference_ms
    assert after == both


def test_rounding_gives_no_negative_time():
    """A difference of sums that is a rounding below 0 is 0."""
    assert version_statistics._ns(-1e-12) == 0
    assert Duration(1, 0).ns == 0
