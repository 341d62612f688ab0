"""The grid: which combinations of flags are in it, and what they mean to the server."""

import pytest

from loadtest.settings.config import UsageError
from loadtest.tune.cells import DEFAULTS, Cell, differences, grid, read, sample, settled
from serving.settings.config import ServerConfig
from serving.settings.flags import parse_config
from serving.settings.session import runtime


def shapes(cells):
    return {(cell.workers, cell.instances, cell.threads) for cell in cells}


def test_a_machine_of_two_cores_has_seven_shapes():
    """Every combination of 1 and 2 but the one of eight threads, with each limit and precision."""
    cells = grid(2, ["fp32", "int8"])

    assert shapes(cells) == {
        *((1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2)),
        *((2, 1, 1), (2, 1, 2), (2, 2, 1)),
    }
    assert len(cells) == len(set(cells)) == 7 * 3 * 2


@pytest.mark.parametrize("cores", [1, 3, 6, 16])
def test_a_grid_uses_half_of_the_cores_to_twice_the_cores(cores):
    """No shape has less threads than half of the cores or more than twice as many."""
    products = {w * i * t for w, i, t in shapes(grid(cores, ["fp32"]))}

    assert min(products) >= max(1, cores // 2)
    assert max(products) <= 2 * cores
    assert cores in products


def test_given_values_are_the_only_ones():
    """If workers, instances and threads are given, all of their combinations remain."""
    cells = grid(2, ["fp32"], workers=[1], instances=[8], threads=[1, 4], batch_limits=[16])

    assert [cell.values for cell in cells] == [
        {
            "workers": 1,
            "instances": 8,
            "intra_op_threads": threads,
            "max_batch_size": 16,
            "precision": "fp32",
        }
        for threads in (1, 4)
    ]


def test_a_grid_without_a_cell_says_what_to_give():
    """One of the three that no other value fits is refused with the way out."""
    with pytest.raises(UsageError, match=r"1 to 4 threads .* give --workers, --instances and"):
        grid(2, ["fp32"], instances=[8])


def test_a_sample_keeps_the_order_and_depends_on_the_seed():
    """A sample has as many cells as asked for, in the grid's order, and is repeatable."""
    cells = grid(8, ["fp32", "int8"])

    chosen = sample(cells, 10, seed=3)

    assert sorted(chosen, key=cells.index) == chosen
    assert len(set(chosen)) == 10
    assert sample(cells, 10, seed=3) == chosen != sample(cells, 10, seed=4)
    assert sample(cells, 1000, seed=3) == cells


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(DEFAULTS, id="defaults"),
        pytest.param(
            Cell(workers=2, instances=3, threads=4, batch_limit=5, precision="w8"), id="set"
        ),
    ],
)
def test_the_server_reads_flags_and_variables_alike(cell):
    """Flags and variables give the server the same settings, and `read` the same cell."""
    by_flags = parse_config(cell.flags, {})

    assert parse_config([], cell.variables) == by_flags
    assert (by_flags.workers, by_flags.instances) == (cell.workers, cell.instances)
    assert (by_flags.intra_op_threads, by_flags.max_batch_size) == (cell.threads, cell.batch_limit)
    assert by_flags.precision == cell.precision
    assert read(cell.values) == cell


def test_the_defaults_are_the_servers():
    """The cell DEFAULTS sets nothing that the server would not choose by itself."""
    assert parse_config(DEFAULTS.flags, {}) == ServerConfig()


@pytest.mark.parametrize("cores", [1, 2, 6, 16])
@pytest.mark.parametrize(
    "cell",
    [DEFAULTS, Cell(workers=2), Cell(instances=2), Cell(threads=2), Cell(workers=2, threads=3)],
    ids=str,
)
def test_choices_left_to_the_server_are_settled_as_the_server_does(cell, cores):
    """Instances, threads and the batch limit in place of 0 are those that the server takes."""
    config = parse_config([*cell.flags, "--device=cpu"], {})
    chosen = runtime(config, lambda: cores)

    known = settled(cell, cores, "int8")

    assert (known.instances, known.threads) == (chosen.instances, chosen.intra_op_threads)
    assert known.batch_limit == config.batching().max_batch_size
    assert known.precision == "int8"


def test_differences_name_the_servers_flags():
    """Only the flags whose values differ are named, with both values."""
    assert differences(Cell(workers=2, batch_limit=8), DEFAULTS) == {
        "workers": (2, 1),
        "max_batch_size": (8, 0),
    }
