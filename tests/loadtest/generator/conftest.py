"""Fixtures of the load generator's tests: runs in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from simulating import virtual_time
from simulating.fake_sender import BODIES, FakeSender, plan

from loadtest.generator.generator import Generator
from loadtest.generator.recording import Recording
from loadtest.load.plan import Share


@pytest.fixture
def generate(monkeypatch):
    """Runs a plan against a fake server in virtual time."""

    def run(
        answer: Callable[[bytes], Awaitable[object]],
        *,
        share: Share = Share(),  # noqa: B008 - immutable
        meddle: Callable[[Generator], Awaitable[None]] | None = None,
        **settings: object,
    ) -> Recording:
        async def main() -> Recording:
            generator = Generator(
                plan(**settings), FakeSender(answer), BODIES, connections=1, share=share
            )
            await generator.warm_up()
            meddling = asyncio.create_task(meddle(generator)) if meddle else None
            start_ns = round(asyncio.get_running_loop().time() * 1e9)
            recording = await generator.run(start_ns)
            if meddling is not None:
                await meddling
            return recording

        return virtual_time.run(main(), monkeypatch)

    return run
