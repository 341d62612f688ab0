"""Tests of the sizes of batches: limits, allowed sizes, padding, and requests in parts."""

import asyncio
import dataclasses

import numpy as np
import pytest
from sample_models import tiny_models
from sample_results.recorded_batches import rows, settle, submit, with_batcher

from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig


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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"batch_timeout_micros": 7}, {"batch_timeout_micros": 7}),
        (
            {"max_batch_size": 16},
            {"max_batch_size": 16, "allowed_batch_sizes": (), "max_batch_size_on_cuda": 0},
        ),
    ],
)
def test_a_model_may_have_other_batches(changes, expected):
    """Changed fields replace those of the settings; a new largest batch is not padded beyond."""
    config = BatchingConfig(
        max_batch_size=64, max_batch_size_on_cuda=256, allowed_batch_sizes=(32, 64)
    )

    assert config.changed(changes) == dataclasses.replace(config, **expected)
