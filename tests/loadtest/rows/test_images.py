import numpy as np
import pytest

from loadtest.rows.images import load_test_images, shuffled
from loadtest.settings.config import UsageError
from training.data.cifar10 import DATA_DIR_VARIABLE


@pytest.mark.parametrize(("images", "batch", "sizes"), [(24, 7, [7, 7, 7, 3]), (6, 3, [3, 3])])
def test_queries_hold_every_image_once(images, batch, sizes):
    """24 images in batches of 7 give queries of 7, 7, 7 and 3 images."""
    queries = shuffled(images, batch=batch, seed=1)

    image_ids = [queries.image_ids(query) for query in range(len(queries))]
    assert [len(ids) for ids in image_ids] == sizes
    assert sorted(np.concatenate(image_ids)) == list(range(images))


def test_the_table_is_the_queries_side_by_side():
    """The row of a short last query is filled up with -1."""
    queries = shuffled(24, batch=7, seed=1)

    for query, row in enumerate(queries.table.tolist()):
        ids = queries.image_ids(query).tolist()
        assert row == ids + [-1] * (7 - len(ids))


def test_the_seed_decides_the_order():
    """Equal seeds give equal queries, different seeds different ones, and none is sorted."""
    orders = [shuffled(24, batch=1, seed=seed).order.tolist() for seed in (0, 0, 1)]

    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_without_a_data_set_the_way_out_is_named(monkeypatch):
    """Missing test images name the flags that need none."""
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)

    with pytest.raises(UsageError, match=r"--synthetic .*--random .*--inputs"):
        load_test_images(None)
