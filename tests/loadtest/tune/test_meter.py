"""A cell's measurement against a real server: how many callers, and what counts."""

import pytest

from loadtest.rows.images import LabelledImages
from loadtest.settings.config import DataConfig, GateConfig, LoadTestConfig
from loadtest.tune.cells import Cell
from loadtest.tune.meter import CellFailed, Meter
from loadtest.tune.server_pool import ServerPool

CELL = Cell(instances=1, threads=1)


@pytest.fixture
def meter(image_models_dir, data_dir, split, tmp_path):
    """Return a function that returns a meter of a model with a latency bound, on own servers."""
    pools = []

    def of(model, slo_ms, **settings):
        config = LoadTestConfig(
            target="",
            model=model,
            slo_ms=slo_ms,
            connections=8,
            data=DataConfig(data_dir=data_dir),
            output_dir=tmp_path,
            name="meter",
            **settings,
        )
        pools.append(ServerPool(image_models_dir, [], tmp_path / "logs", 2))
        return Meter(
            config=config, source=LabelledImages(split, None), pool=pools[-1], index={CELL: 0}
        )

    yield of
    for pool in pools:
        pool.__exit__(None, None, None)


def test_the_bound_decides_about_the_callers(meter):
    """A wide bound allows far more callers than one of a fraction of a millisecond."""
    wide, narrow = meter("cat", 500.0), meter("cat", 0.05)

    many = wide.measure(CELL, 0.3, "search")
    one = narrow.measure(CELL, 0.3, "search")

    assert many.users > 8 > one.users
    assert 0 < many.goodput_per_second <= many.requests_per_second * 1.1
    # No answer comes within 0.05 ms, so nothing counts, however many answers there are.
    assert (one.goodput_per_second, one.share) == (0, 0)
    assert one.requests_per_second > 0


def test_random_arrivals_have_a_rate_and_no_callers(meter):
    """With a rate the requests are sent at random times, about as many as were asked for."""
    measured = meter("cat", 500.0).measure(CELL, 2.0, "check", rate=50.0)

    assert (measured.users, measured.rate_per_second) == (0, 50.0)
    assert measured.answered == pytest.approx(100, abs=50)


def test_a_server_is_kept_for_the_next_turn(meter):
    """A second measurement starts no second server; a third cell stops the one used first."""
    measuring = meter("cat", 500.0)
    others = [Cell(instances=2, threads=1), Cell(instances=3, threads=1)]
    measuring.index |= {cell: number for number, cell in enumerate(others, 1)}
    pool = measuring.pool

    first = pool.server(CELL)
    assert pool.server(CELL) is first
    second = pool.server(others[0])
    assert pool.server(CELL) is first
    pool.server(others[1])

    assert second.end() is not None
    assert first.end() is None


def test_a_cell_without_answers_fails_with_the_servers_words(meter):
    """A model that the server refuses is quoted."""
    with pytest.raises(CellFailed, match="nothing-of-this-name"):
        meter("nothing-of-this-name", 500.0).measure(CELL, 0.3, "search")


def test_a_cell_of_too_low_accuracy_fails(meter):
    """--min-accuracy holds for the measured answers, too: the model knows cats only."""
    strict = meter("cat", 500.0, gates=GateConfig(min_accuracy=0.9))

    with pytest.raises(CellFailed, match=r"top-1 is at most .* %, at least 90 % wanted"):
        strict.measure(CELL, 0.3, "search")
