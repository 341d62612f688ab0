import numpy as np
import pytest

from loadtest.load import replay
from loadtest.load.replay import RecordedQueries
from loadtest.rows.images import Queries
from loadtest.settings.config import UsageError

MS = 1_000_000


@pytest.fixture
def traffic(tmp_path):
    """Five requests in 2 s: model a with batches 1 and 2, model b with batch 1."""
    file = tmp_path / "day.csv"
    file.write_text("time,model,batch\n9,a,1\n9.5,b,1\n10,a,1\n10.5,a,2\n11,a,1\n")
    return file


@pytest.mark.parametrize("speed", [0.5, 1, 3, 4])
def test_due_times_are_those_of_the_file_over_the_speed(traffic, speed):
    """Times count from the first request of the file, also for a model that came later."""
    of_a = replay.read(traffic, speed=speed, model="a", batch=1)
    of_b = replay.read(traffic, speed=speed, model="b", batch=None)

    assert of_a.due_ns.tolist() == [round(ms * MS / speed) for ms in (0, 1000, 2000)]
    assert of_b.due_ns.tolist() == [round(500 * MS / speed)]
    assert (of_a.left_out, of_b.left_out) == (2, 4)
    assert of_a.mean_rate == pytest.approx(speed)
    assert of_a.arrivals(seed=1).due_ns.tolist() == of_a.arrivals(seed=2).due_ns.tolist()


def test_a_replay_may_end_early(traffic):
    """A number of requests or a duration, at the speed of the replay, ends it."""
    first = replay.read(traffic, speed=2, model="a", batch=1, requests=2)
    short = replay.read(traffic, speed=2, model="a", batch=1, duration_seconds=0.6)

    assert first.due_ns.tolist() == short.due_ns.tolist() == [0, 500 * MS]
    assert first.left_out == short.left_out == 3


def test_a_replay_says_what_it_sends(traffic):
    """The words have the numbers of requests, the file, the speed and the rate."""
    found = replay.read(traffic, speed=2, model="a", batch=1)

    assert found.words == (
        "replay of 3 requests of day.csv (2 others left out) at 2 times their speed, "
        "2 requests/s on average"
    )


@pytest.mark.parametrize(
    ("model", "batch", "words"),
    [
        ("c", None, "no request of the model 'c', only of a, b"),
        ("a", None, "requests with 1, 2 images; choose one with --batch"),
        ("a", 8, "no request with 8 images, only with 1, 2"),
    ],
)
def test_requests_that_the_file_lacks_are_refused(traffic, model, batch, words):
    """The message names what the file has."""
    with pytest.raises(UsageError) as refused:
        replay.read(traffic, speed=1, model=model, batch=batch)

    assert words in str(refused.value)


def test_a_duration_before_the_first_request_is_refused(traffic):
    """The requests of b come after 0.5 s."""
    with pytest.raises(UsageError, match="no request in the first"):
        replay.read(traffic, speed=1, model="b", batch=None, duration_seconds=0.4)


def test_recorded_queries_ask_for_the_images_of_their_request():
    """Request i asks for the images of row i, and unused places are left out."""
    queries = RecordedQueries(np.array([3, 4, 3, 4, 5, -1]), 2)

    assert isinstance(queries, Queries)
    assert len(queries) == 3
    assert [queries.image_ids(query).tolist() for query in range(3)] == [[3, 4], [3, 4], [5]]
    assert queries.table.tolist() == [[3, 4], [3, 4], [5, -1]]
