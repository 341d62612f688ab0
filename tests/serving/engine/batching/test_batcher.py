import asyncio
import threading
import time

import numpy as np
import pytest
import tiny_models

from serving.access import flow
from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable


class Recorder:
    """Doubles its input and records the size of each batch."""

    def __init__(self) -> None:
        """Runs do not wait until `hold` is called."""
        self.sizes: list[int] = []
        self.entered = threading.Event()
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, signature_name, inputs, outputs, control):
        """Record the batch size and return the doubled input."""
        self.entered.set()
        self._gate.wait(10)
        self.sizes.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    def hold(self) -> None:
        """Let the next runs block until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let waiting runs go on."""
        self._gate.set()


def rows(*values: int) -> dict[str, np.ndarray]:
    return {"x": np.array(values)}


def submit(batcher: Batcher, inputs, *, batched=True, deadline=None, signature="s"):
    return asyncio.ensure_future(
        batcher.run(signature, inputs, ["y"], batched=batched, deadline=deadline)
    )


async def settle(recorder: Recorder) -> None:
    """Wait until the worker has taken the first request and blocks in its run."""
    await asyncio.to_thread(recorder.entered.wait, 10)


def with_batcher(scenario, *, workers=1, **config):
    """Run a coroutine function on a batcher over a Recorder; return its result and the Recorder."""
    recorder = Recorder()
    batcher = Batcher(recorder, BatchingConfig(**config), workers=workers, name="m/1")
    try:
        return asyncio.run(scenario(batcher, recorder)), recorder
    finally:
        recorder.release()
        batcher.close()


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


def test_batches_stay_within_their_size():
    """A request that would exceed max_batch_size waits for the next batch."""

    async def scenario(batcher, recorder):
        recorder.hold()
        first = submit(batcher, rows(1))
        await settle(recorder)
        others = [submit(batcher, rows(1, 2, 3)) for _ in range(3)]
        await asyncio.sleep(0)
        recorder.release()
        await asyncio.gather(first, *others)

    _, recorder = with_batcher(scenario, max_batch_size=8)

    assert recorder.sizes == [1, 6, 3]


def test_large_requests_are_split():
    """A request with more rows than a batch runs in parts and is answered whole, in order."""

    async def scenario(batcher, recorder):
        return await submit(batcher, rows(*range(10)))

    answer, recorder = with_batcher(scenario, max_batch_size=4)

    assert answer["y"].tolist() == [2 * value for value in range(10)]
    assert sorted(recorder.sizes) == [2, 4, 4]


def test_batches_are_padded_to_the_allowed_sizes():
    """A batch is padded to an allowed size, and the answer has no padded rows."""

    async def scenario(batcher, recorder):
        return await submit(batcher, rows(1, 2, 3))

    answer, recorder = with_batcher(scenario, max_batch_size=8, allowed_batch_sizes=(4, 8))

    assert answer["y"].tolist() == [2, 4, 6]
    assert recorder.sizes == [4]


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"max_batch_size": 64}, (1, 2, 4, 8, 16, 32, 64)),
        ({"max_batch_size": 48}, (1, 2, 4, 8, 16, 32, 48)),
        ({"max_batch_size": 1}, (1,)),
        ({"max_batch_size": 8, "allowed_batch_sizes": (3, 8)}, (3, 8)),
    ],
)
def test_a_gpu_gets_few_batch_sizes(config, sizes):
    """On a GPU, allowed sizes are powers of two up to max_batch_size, unless sizes are set."""
    assert BatchingConfig(**config).for_cuda(64).allowed_batch_sizes == sizes


@pytest.mark.parametrize(
    ("settings", "proved", "most"),
    [
        ({"max_batch_size_on_cuda": 256}, 256, 256),
        ({"max_batch_size_on_cuda": 256}, 1000, 256),
        ({"max_batch_size_on_cuda": 256}, 128, 128),
        ({"max_batch_size_on_cuda": 256}, 7, 64),
        ({"max_batch_size_on_cuda": 256}, None, 64),
        ({"max_batch_size": 32}, 256, 32),
    ],
)
def test_batches_on_cuda_are_as_large_as_their_proof(settings, proved, most):
    """By default batches on CUDA have up to 256 rows, as far as recorded proofs cover them.

    Otherwise loading would run a proof on the CPU again, and could run out of time.
    """
    config = BatchingConfig(**settings).for_cuda(proved)

    assert config.max_batch_size == most
    assert config.allowed_batch_sizes[-1] == most


def test_every_allowed_size_is_warmed_up(load):
    """`warm_up` runs each of the allowed batch sizes once."""
    servable = load(tiny_models.convolution, max_batch_size=4, allowed_batch_sizes=(1, 4))
    sizes = []
    run = servable.run

    def note(name, inputs, outputs, control=None):
        sizes.append(len(inputs["images"]))
        return run(name, inputs, outputs)

    servable.run = note
    servable.warm_up((1, 4))

    assert sizes == [1, 4]


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


def test_padding_repeats_the_last_row():
    """Padding repeats the last row: a model may refuse values that no caller sent, even zeros."""
    seen = []

    def note(_signature, inputs, _outputs, _control):
        seen.append(inputs["x"].tolist())
        return {"y": inputs["x"]}

    async def scenario():
        return await asyncio.gather(
            submit(batcher, {"x": np.array([[1, 2]])}), submit(batcher, {"x": np.array([[3, 4]])})
        )

    config = BatchingConfig(
        max_batch_size=5, allowed_batch_sizes=(5,), batch_timeout_micros=100_000
    )
    batcher = Batcher(note, config, workers=1, name="m/1")
    answers = asyncio.run(scenario())
    batcher.close()

    assert seen == [[[1, 2], [3, 4], [3, 4], [3, 4], [3, 4]]]
    assert [answer["y"].tolist() for answer in answers] == [[[1, 2]], [[3, 4]]]


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


@pytest.fixture
def load(tmp_path):
    """A function that loads a tiny model as a servable; the servables are closed at the end."""
    loaded = []

    def make(builder, **config) -> Servable:
        path = builder(tmp_path)
        servable = Servable.load(
            path.parent.name, 1, path, RuntimeConfig(device="cpu"), BatchingConfig(**config)
        )
        loaded.append(servable)
        return servable

    yield make
    for servable in loaded:
        servable.close()


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
