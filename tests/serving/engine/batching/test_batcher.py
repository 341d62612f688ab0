import asyncio
import time

import numpy as np
import pytest
from sample_models import tiny_models
from sample_results.recorded_batches import rows, settle, submit, with_batcher

from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable


def test_a_lone_request_runs_at_once():
    """A single request runs without waiting for others."""

    async def scenario(batcher, recorder):
        return await submit(batcher, rows(1, 2))

    answer, recorder = with_batcher(scenario)

    assert answer["y"].tolist() == [2, 4]
    assert recorder.sizes == [2]


def test_waiting_requests_share_a_run():
    """Requests that arrive during a run share the next run; each gets its own rows back."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = submit(batcher, rows(1))
        await settle(recorder)
        others = [submit(batcher, rows(value, value + 1)) for value in range(10, 20)]
        await asyncio.sleep(0)
        recorder.release()
        return [answer["y"].tolist() for answer in await asyncio.gather(first, *others)]

    answers, recorder = with_batcher(scenario)

    assert answers == [[2], *([2 * value, 2 * value + 2] for value in range(10, 20))]
    assert recorder.sizes == [1, 20]


def test_requests_of_different_kinds_do_not_mix():
    """Requests with another signature, another row shape or without a batch run apart."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = submit(batcher, rows(1))
        await settle(recorder)
        others = [
            submit(batcher, rows(1, 2)),
            submit(batcher, rows(1, 2), signature="t"),
            submit(batcher, {"x": np.ones((2, 5))}, signature="t"),
            submit(batcher, rows(1, 2, 3), batched=False),
        ]
        await asyncio.sleep(0)
        recorder.release()
        await asyncio.gather(first, *others)

    _, recorder = with_batcher(scenario)

    assert recorder.sizes == [1, 2, 2, 2, 3]


def test_without_batching_requests_run_alone_and_whole():
    """Requests to a signature that does not batch are neither merged nor split."""

    async def scenario(batcher, recorder):
        await asyncio.gather(*(submit(batcher, rows(1, 2, 3), batched=False) for _ in range(3)))

    _, recorder = with_batcher(scenario, max_batch_size=2)

    assert recorder.sizes == [3, 3, 3]


def test_expired_and_cancelled_requests_leave_before_the_run():
    """Expired and cancelled requests leave the queue without a run."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = submit(batcher, rows(1))
        await settle(recorder)
        expired = submit(batcher, rows(2), deadline=time.monotonic() - 1)
        cancelled = submit(batcher, rows(3))
        wanted = submit(batcher, rows(4), deadline=time.monotonic() + 60)
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        recorder.release()
        with pytest.raises(DeadlineExceeded, match="deadline passed while the request waited"):
            await expired
        return (await first)["y"].tolist(), (await wanted)["y"].tolist()

    answers, recorder = with_batcher(scenario)

    assert answers == ([2], [8])
    assert recorder.sizes == [1, 1]


def test_a_timeout_lets_a_batch_fill():
    """With batch_timeout_micros the worker waits for rows that come a little later."""

    async def scenario(batcher, recorder):
        first = submit(batcher, rows(1))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(submit(batcher, rows(2)) for _ in range(3)))

    _, recorder = with_batcher(scenario, max_batch_size=4, batch_timeout_micros=10_000_000)

    assert recorder.sizes == [4]


def test_closing_finishes_what_was_accepted():
    """`close` answers every accepted request; later requests are refused with Unavailable."""

    async def scenario(batcher, recorder):
        recorder.hold()
        accepted = [submit(batcher, rows(value)) for value in range(20)]
        await settle(recorder)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="is being unloaded"):
            await submit(batcher, rows(1))
        recorder.release()
        await closing
        return [answer["y"].tolist() for answer in await asyncio.gather(*accepted)]

    answers, _ = with_batcher(scenario)

    assert answers == [[2 * value] for value in range(20)]


def test_an_output_without_a_row_for_each_row_is_an_error():
    """An output with fewer rows than its batch is an InternalError that names --force_batching."""

    def mean(signature_name, inputs, outputs, control):
        return {"y": inputs["x"].mean(keepdims=True)}

    async def scenario():
        return await asyncio.gather(
            *(submit(batcher, rows(1, 2)) for _ in range(2)), return_exceptions=True
        )

    batcher = Batcher(
        mean, BatchingConfig(allowed_batch_sizes=(4,), max_batch_size=4), workers=1, name="m/1"
    )
    outcomes = asyncio.run(scenario())
    batcher.close()

    assert all(isinstance(outcome, InternalError) for outcome in outcomes)
    assert "do not name it in --force_batching" in outcomes[0].message


def test_a_bad_value_fails_alone(load):
    """Of 40 requests in shared batches, only those with an impossible index fail."""
    servable = load(tiny_models.lookup)

    async def scenario():
        return await asyncio.gather(
            *(
                servable.predict("serving_default", {"index": np.array([index])}, ["y"])
                for index in [0, 1, 7, 2] * 10
            ),
            return_exceptions=True,
        )

    outcomes = asyncio.run(scenario())

    for index, outcome in zip([0, 1, 7, 2] * 10, outcomes, strict=True):
        if index == 7:
            assert isinstance(outcome, InvalidInput)
        else:
            assert outcome["y"].tolist() == [index + 1.0]


def test_batched_answers_equal_unbatched_ones_bit_for_bit(load):
    """1,000 requests of random sizes get the same bits in shared batches as alone."""
    servable = load(tiny_models.convolution, max_batch_size=32)
    random = np.random.default_rng(0)
    requests = [
        {"images": random.integers(0, 256, (random.integers(1, 48), 32, 32, 3), np.uint8)}
        for _ in range(1000)
    ]

    async def scenario():
        answers = []
        while len(answers) < len(requests):
            group = requests[len(answers) : len(answers) + int(random.integers(1, 40))]
            answers += await asyncio.gather(
                *(servable.predict("serving_default", inputs, ["scores"]) for inputs in group)
            )
        return answers

    answers = asyncio.run(scenario())

    for inputs, answer in zip(requests, answers, strict=True):
        alone = servable.run("serving_default", inputs, ["scores"])
        np.testing.assert_array_equal(answer["scores"], alone["scores"])
