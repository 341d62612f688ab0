import numpy as np

from serving.engine.batching.request_rows import RequestRows


def test_rows_are_those_of_the_request():
    """The mapping has the outputs of the batch, each with the rows of its request alone."""
    batch = {"y": np.arange(8).reshape(4, 2), "z": np.arange(4)}

    rows = RequestRows(batch, {}, 1, 3)

    assert list(rows) == ["y", "z"]
    assert len(rows) == 2
    assert rows["y"].tolist() == [[2, 3], [4, 5]]
    assert rows["z"].tolist() == [1, 2]


def test_what_is_made_of_a_batch_is_made_once_for_all_its_requests():
    """The requests of a batch share what is made of it; another key is made anew."""
    batch, made, calls = {"y": np.arange(3)}, {}, []

    def make(arrays):
        calls.append(arrays)
        return int(arrays["y"].sum())

    requests = [RequestRows(batch, made, row, row + 1) for row in range(3)]

    assert [request.of_batch("sum", make) for request in requests] == [3, 3, 3]
    assert requests[0].of_batch("other", make) == 3
    assert calls == [batch, batch]
