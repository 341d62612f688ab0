"""Tests of a batcher's full queue: refusals, rows that are given back, and shares of clients."""

import asyncio
import time

import numpy as np
import pytest
from sample_models import tiny_models
from sample_results.recorded_batches import rows, settle, submit, with_batcher

from serving.access import flow
from serving.engine.batching.batcher import Batcher
from serving.errors import InvalidInput, Unavailable


def test_a_full_queue_refuses_at_once_and_answers_accepted_requests():
    """A request over max_enqueued_rows is UNAVAILABLE at once; accepted requests are answered."""

    async def scenario(batcher, recorder):
        recorder.hold()
        accepted = [submit(batcher, rows(1)) for _ in range(4)]
        await settle(recorder)
        with pytest.raises(
            Unavailable, match="4 rows wait for m/1, at most 4 may; retry"
        ) as caught:
            await submit(batcher, rows(1))
        recorder.release()
        answers = await asyncio.gather(*accepted)
        return caught.value.message, len(answers), await submit(batcher, rows(7))

    (message, answered, after), _ = with_batcher(scenario, max_enqueued_rows=4)

    assert message.startswith("The batch scheduling queue to which this task was submitted is full")
    assert answered == 4
    assert after["y"].tolist() == [14]


def test_a_request_larger_than_the_queue_is_refused_even_if_that_is_empty():
    """A request with more rows than max_enqueued_rows is INVALID_ARGUMENT, also on an empty queue.

    A retry could not help, and other requests would be refused for as long as it runs.
    """

    async def scenario(batcher, _recorder):
        with pytest.raises(InvalidInput, match=r"5 rows, expected at most 4 .*--max_enqueued_rows"):
            await submit(batcher, rows(1, 2, 3, 4, 5))
        return await submit(batcher, rows(1, 2, 3, 4))

    answer, _ = with_batcher(scenario, max_enqueued_rows=4)

    assert answer["y"].tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize("rows", [1, 3])
def test_requests_that_fail_give_their_rows_back(load, rows):
    """Rows of failed requests, alone or in parts, no longer count towards max_enqueued_rows."""
    servable = load(tiny_models.lookup, max_batch_size=2, max_enqueued_rows=4)
    bad = {"index": np.full(rows, 7)}

    async def scenario():
        for _ in range(10):
            with pytest.raises(InvalidInput):
                await servable.predict("serving_default", bad, ["y"])
        left = servable.rows_in_progress
        good = {"index": np.array([0, 1, 2, 0])}
        return left, await servable.predict("serving_default", good, ["y"])

    left, answer = asyncio.run(scenario())

    assert left == 0
    assert answer["y"].tolist() == [1, 2, 3, 1]


def test_cancelled_and_expired_requests_give_their_rows_back():
    """Requests that are cancelled, queued or running, and expired ones return their rows."""

    async def scenario(batcher, recorder):
        recorder.hold()
        running = submit(batcher, rows(1))
        await settle(recorder)
        waiting, parts = submit(batcher, rows(2)), submit(batcher, rows(*range(10)))
        expired = submit(batcher, rows(3), deadline=time.monotonic() - 1)
        await asyncio.sleep(0)
        before = batcher.rows
        for asked in (running, waiting, parts):
            asked.cancel()
        recorder.release()
        await asyncio.gather(running, waiting, parts, expired, return_exceptions=True)
        return before, batcher.rows

    (before, after), _ = with_batcher(scenario, max_batch_size=4)

    assert before == 13
    assert after == 0


async def as_client(name: str, asking):
    """Await a coroutine as a client's request."""
    flow.CURRENT.set(name)
    return await asking


def ask_as(batcher: Batcher, client: str, count: int) -> asyncio.Task:
    """Send a request of so many rows as a client."""
    inputs = rows(*range(count))
    running = batcher.run("s", inputs, ["y"], batched=True, deadline=None)
    return asyncio.create_task(as_client(client, running))


async def outcomes(tasks) -> list[str]:
    """Return `answered` or the error's message for each task."""
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [end.message if isinstance(end, Unavailable) else "answered" for end in ended]


def test_a_full_queue_has_room_for_a_client_that_has_little():
    """A client below an equal share takes the place of the greediest client's newest request."""

    async def scenario(batcher, recorder):
        recorder.hold()
        greedy = [ask_as(batcher, "greedy", 4)]
        await settle(recorder)
        greedy += [ask_as(batcher, "greedy", 4) for _ in range(4)]
        await asyncio.sleep(0)
        polite = [ask_as(batcher, "polite", 1) for _ in range(3)]
        await asyncio.sleep(0)
        late = [ask_as(batcher, "greedy", 4)]
        await asyncio.sleep(0)
        waiting = batcher.rows
        recorder.release()
        return waiting, await outcomes(greedy), await outcomes(polite), await outcomes(late)

    (waiting, greedy, polite, late), _ = with_batcher(
        scenario, max_batch_size=4, max_enqueued_rows=20
    )

    assert waiting == 19
    assert greedy[:4] == ["answered"] * 4
    assert greedy[4].startswith("The batch scheduling queue to which this task was submitted is")
    assert polite == ["answered"] * 3
    assert late[0].endswith(
        "19 rows wait for m/1, at most 20 may; retry with backoff, or add servers"
    )


def test_rows_that_run_are_not_displaced():
    """If the rows of the greedy client run already, a full queue refuses every client."""

    async def scenario(batcher, recorder):
        recorder.hold()
        greedy = ask_as(batcher, "greedy", 4)
        await settle(recorder)
        polite = ask_as(batcher, "polite", 1)
        await asyncio.sleep(0)
        recorder.release()
        return await outcomes([greedy, polite])

    (greedy, polite), _ = with_batcher(scenario, max_batch_size=4, max_enqueued_rows=4)

    assert greedy == "answered"
    assert "is full: 4 rows wait" in polite


def test_a_displaced_part_frees_the_other_parts():
    """A request that runs in parts fails whole if one part is displaced; no other part runs."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = ask_as(batcher, "other", 1)
        await settle(recorder)
        large = ask_as(batcher, "greedy", 12)  # three parts
        await asyncio.sleep(0)
        polite = ask_as(batcher, "polite", 1)
        for _ in range(5):  # until the large request has failed
            await asyncio.sleep(0)
        waiting = batcher.rows
        recorder.release()
        return waiting, await outcomes([first, large, polite])

    (waiting, (first, large, polite)), recorder = with_batcher(
        scenario, max_batch_size=4, max_enqueued_rows=13
    )

    assert waiting == 2
    assert (first, polite) == ("answered", "answered")
    assert "is full" in large
    assert recorder.sizes == [1, 1]


def test_clients_with_equal_shares_are_refused():
    """A client that has its equal share displaces nobody."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = ask_as(batcher, "a", 1)
        await settle(recorder)
        asked = [ask_as(batcher, client, 1) for client in "abbab"]
        await asyncio.sleep(0)
        recorder.release()
        return await outcomes([first, *asked])

    ends, _ = with_batcher(scenario, max_batch_size=4, max_enqueued_rows=4)

    assert [end == "answered" for end in ends] == [True, True, True, True, False, False]
