"""Successive halving on cells whose true rates are known."""

import math

import numpy as np
import pytest

from loadtest.tune.cells import Cell
from loadtest.tune.halving import (
    BUDGET_SHARE,
    GRID_TURNS,
    Budget,
    Halving,
    HalvingStopped,
    budget_of,
)

SECONDS = 2.0


class KnownRates:
    """Cells with given rates; records what was measured."""

    def __init__(self, rates):
        self.rates = dict(rates)
        self.turns = []

    def __call__(self, cells, seconds):
        """See halving.Measure."""
        self.turns.append((tuple(cells), seconds))
        return {cell: self.rates[cell] for cell in cells}


def cells_of(*rates):
    """Cells with these rates in requests/s."""
    return {Cell(batch_limit=number + 1): rate for number, rate in enumerate(rates)}


def search(measure, cells, *, overhead=0.0, servers=1, **settings):
    halving = Halving(
        measure=measure,
        seconds=SECONDS,
        overhead_seconds=overhead,
        servers=servers,
        budget=budget_of(len(cells), SECONDS, overhead),
        **settings,
    )
    halving.run(list(cells))
    return halving


def test_the_best_of_32_cells_is_found_in_a_third_of_the_time():
    """Without noise the best cell is left, whatever its place; the budget holds."""
    for best in (0, 15, 31):
        cells = cells_of(*(1100 if number == best else 1000 - number for number in range(32)))

        halving = search(KnownRates(cells), cells)

        assert halving.best == list(cells)[best]
        assert halving.spent.measuring <= BUDGET_SHARE * GRID_TURNS * 32 * SECONDS + 1e-6
        assert [len(each.cells) for each in halving.rounds] == [32, 16, 8, 4, 2]


def test_later_rounds_measure_a_cell_longer():
    """The time that a round spends on a cell grows from round to round."""
    cells = cells_of(*(1000 - number for number in range(32)))

    rounds = search(KnownRates(cells), cells).rounds

    spent = [each.turns * each.seconds for each in rounds]
    assert spent == sorted(spent)
    assert spent[-1] > 4 * spent[0]
    assert max(each.seconds for each in rounds) == SECONDS


def test_cells_take_turns():
    """Within a round every cell is measured once before any is measured again."""
    measure = KnownRates(cells_of(*range(100, 84, -1)))

    halving = search(measure, measure.rates)

    last = halving.rounds[-1]
    assert last.turns > 1
    assert measure.turns[-last.turns :] == [(last.cells, last.seconds)] * last.turns


def test_cells_far_below_leave_early():
    """Cells at half of the best rate leave after a round, except those of the best quarter."""
    cells = cells_of(1000, 500, 490, 480, 470, 460)

    halving = search(KnownRates(cells), cells)

    assert [len(each.cells) for each in halving.rounds] == [6, 2]
    assert halving.best == next(iter(cells))


def test_a_cell_that_fails_is_left_out_for_good():
    """A cell without a score is never chosen, even if it had the best one before."""
    cells = cells_of(1000, 990, 980, 970)
    measure = KnownRates(cells)
    first = next(iter(cells))

    def fails_in_its_second_turn(chosen, seconds):
        if any(first in turn for turn, _ in measure.turns):
            measure.rates[first] = None
        return measure(chosen, seconds)

    halving = search(fails_in_its_second_turn, cells)

    assert first in halving.rounds[0].kept
    assert halving.best == list(cells)[1]
    assert first not in halving.rounds[-1].means


def test_no_cell_is_chosen_if_all_fail():
    """The search ends, and there is no best cell."""
    cells = cells_of(None, None, None)

    halving = search(KnownRates(cells), cells)

    assert halving.best is None
    assert halving.rounds[-1].kept == ()


def test_a_cell_without_a_good_answer_is_the_worst():
    """0 requests/s is a score."""
    cells = cells_of(0, 10, 0, 9)

    assert search(KnownRates(cells), cells).best == list(cells)[1]


def test_a_figure_is_the_mean_of_the_logarithms_weighted_by_time():
    """A measurement counts as much as it took seconds."""
    cell, other = cells_of(100, 90)
    halving = Halving(measure=KnownRates({}), seconds=SECONDS, budget=Budget(1.0, 1.0))

    halving.measure = KnownRates({cell: 100, other: 90})
    halving._turn([cell, other], 1.0)
    halving.measure = KnownRates({cell: 200, other: 90})
    halving._turn([cell, other], 3.0)

    assert halving.mean(cell) == pytest.approx(math.exp((math.log(100) + 3 * math.log(200)) / 4))


def test_one_luck_in_a_first_turn_does_not_decide():
    """The means have all rounds, so a lucky first score is corrected by later ones."""
    cells = cells_of(1000, 950, 700, 700, 700, 700, 700, 700)
    lucky = list(cells)[1]
    measure = KnownRates(cells)

    def once_lucky(chosen, seconds):
        scores = measure(chosen, seconds)
        return scores | ({lucky: 1010} if len(measure.turns) == 1 else {})

    halving = search(once_lucky, cells)

    assert next(iter(halving.rounds[0].means)) == lucky
    assert halving.best == next(iter(cells))


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_a_search_that_is_stopped_has_the_best_cell_so_far(stop_at):
    """The finished turns count; the reason is kept."""
    cells = cells_of(900, 1000, 950, 940, 930, 920, 910, 905)
    measure = KnownRates(cells)

    def stops(chosen, seconds):
        if len(measure.turns) == stop_at:
            reason = "time is over"
            raise HalvingStopped(reason)
        return measure(chosen, seconds)

    halving = search(stops, cells)

    assert halving.stopped_by == ("time is over" if len(measure.turns) == stop_at else None)
    assert halving.best == list(cells)[1]


def test_a_search_that_is_stopped_at_once_has_no_best_cell():
    """Nothing was measured, so nothing is the best."""

    def stops(chosen, seconds):
        raise HalvingStopped

    assert search(stops, cells_of(1, 2)).best is None


@pytest.mark.parametrize("servers", [1, 8])
@pytest.mark.parametrize("overhead", [0.0, 1.5, 6.0])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 28, 100])
def test_the_time_of_starting_servers_is_in_the_budget(count, overhead, servers):
    """Neither measuring nor the whole time exceeds a third of the grid's."""
    cells = cells_of(*(1000 - number for number in range(count)))

    measure = KnownRates(cells)
    halving = search(measure, cells, overhead=overhead, servers=servers)

    measuring = sum(len(chosen) * seconds for chosen, seconds in measure.turns)
    assert halving.best == next(iter(cells))
    assert halving.spent.measuring == pytest.approx(measuring)
    assert measuring <= BUDGET_SHARE * GRID_TURNS * count * SECONDS + 1e-6
    assert halving.spent.total <= BUDGET_SHARE * GRID_TURNS * count * (SECONDS + overhead) + 1e-6


def test_finished_rounds_are_reported():
    """`on_round` gets each round when it is finished."""
    cells, seen = cells_of(4, 3.9, 3.8, 3.7), []

    halving = search(KnownRates(cells), cells, on_round=seen.append)

    assert seen == halving.rounds
    assert len(seen) == 2


def test_noise_of_4_percent_rarely_costs_more_than_3_percent():
    """Of 200 grids of 28 cells, 95 % of the searches end within 3 % of the best cell."""
    within = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        rates = 1000 * np.exp(random.normal(0.0, 0.2, 28))
        cells = cells_of(*rates)

        def noisy(chosen, seconds, cells=cells, random=random):
            spread = 0.04 * math.sqrt(SECONDS / seconds)
            return {cell: cells[cell] * math.exp(random.normal(0.0, spread)) for cell in chosen}

        halving = search(noisy, cells, overhead=2.0, servers=8)
        within += cells[halving.best] >= 0.97 * rates.max()

    assert within >= 0.95 * 200
