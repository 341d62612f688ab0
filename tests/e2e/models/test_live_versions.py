"""Tests of versions that change while a real server is busy, and of its memory."""

import asyncio
import re
from pathlib import Path

import numpy as np
import psutil
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import AsyncPredictClient, PredictClient, PredictError

LAST_VERSION = 20
CALLERS = 32


def start(models_dir: Path, *flags: str):
    return servers.as_process(
        *("--models_dir", str(models_dir), "--port", "0"),
        *("--file_system_poll_wait_seconds", "0.05", *flags),
    )


async def call_until_served(target: str, images: np.ndarray, version: int) -> tuple[int, list]:
    """Keep CALLERS calls running until a version is available; return their number and errors."""
    answered, errors = 0, []
    swapping = True

    async def call(client: AsyncPredictClient) -> None:
        nonlocal answered
        while swapping:
            try:
                await client.predict("brightness", {"images": images})
                answered += 1
            except PredictError as error:
                errors.append(error)

    async with AsyncPredictClient(target) as client:
        callers = [asyncio.create_task(call(client)) for _ in range(CALLERS)]
        while (await client.statuses("brightness"))[0].version < version:  # noqa: ASYNC110 - remote
            await asyncio.sleep(0.05)
        swapping = False
        await asyncio.gather(*callers)
    return answered, errors


def test_no_call_fails_while_versions_are_swapped(tmp_path, sample_images):
    """32 callers over gRPC see 0 errors while versions 2 to 20 are published one after another."""
    tiny_models.brightness(tmp_path)

    async def scenario(target: str):
        asking = asyncio.create_task(call_until_served(target, sample_images[:2], LAST_VERSION))
        for _ in range(2, LAST_VERSION + 1):
            await asyncio.to_thread(tiny_models.brightness, tmp_path)
            await asyncio.sleep(0.1)
        return await asyncio.wait_for(asking, 60)

    with start(tmp_path) as server:
        target = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for("ready: brightness")
        answered, errors = asyncio.run(scenario(target))
        code = server.terminate()

    assert errors == []
    assert answered > 100
    assert code == 0


def test_clients_that_stall_or_leave_change_nothing_for_others(models_dir):
    """Calls that are cancelled during a run do not affect other calls."""
    ones = np.ones((1, 3), np.float32)

    async def leave_and_ask(target: str) -> list:
        async with AsyncPredictClient(target) as leaver, AsyncPredictClient(target) as stayer:
            answers = []
            for _ in range(50):
                leaving = [
                    asyncio.create_task(leaver.predict("identity", {"x": ones})) for _ in range(8)
                ]
                await asyncio.sleep(0)
                for call in leaving:
                    call.cancel()
                answers.append(await stayer.predict("identity", {"x": ones}))
            return answers

    with start(models_dir) as server:
        target = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for("ready: ")
        answers = asyncio.run(leave_and_ask(target))
        code = server.terminate()

    assert all(answer["y"].tolist() == [[1, 1, 1]] for answer in answers)
    assert code == 0
    assert not re.search("Traceback|unexpected error", "".join(server.log))


@pytest.mark.slow
def test_memory_stays_level_over_requests_and_reloads(tmp_path):
    """20,000 requests of mixed sizes and 50 versions let resident memory grow by at most 10 %."""
    tiny_models.convolution(tmp_path)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (64, 32, 32, 3), np.uint8)

    async def ask(target: str, count: int) -> None:
        sizes = iter(random.integers(1, 65, count).tolist())

        async def call(client: AsyncPredictClient) -> None:
            for size in sizes:
                await client.predict("convolution", {"images": images[:size]})

        async with AsyncPredictClient(target) as client:
            await asyncio.gather(*(call(client) for _ in range(8)))

    with start(tmp_path) as server:
        target = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for("ready: ")
        process = psutil.Process(server.process.pid)
        asyncio.run(ask(target, 2000))
        before = process.memory_info().rss
        asyncio.run(ask(target, 20_000))
        for version in range(2, 52):
            tiny_models.convolution(tmp_path, version=version)
            server.wait_for(f"unloaded convolution/{version - 1}")
        # A fresh version holds less than a warm one: measure after the same traffic as before.
        asyncio.run(ask(target, 2000))
        after = process.memory_info().rss
        with PredictClient(target) as client:
            listed = len(client.statuses("convolution"))
        code = server.terminate()

    assert after <= 1.10 * before, f"{before / 2**20:.0f} MiB before, {after / 2**20:.0f} after"
    assert listed == 51
    assert code == 0
