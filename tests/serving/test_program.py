import asyncio
import logging
import os
import signal

import pytest

from serving import program
from serving.settings.config import ServerConfig


@pytest.mark.parametrize("lame_duck_seconds", [0.0, 60.0])
def test_the_server_has_stopped_being_ready_before_the_log_says_so(caplog, lame_duck_seconds):
    """Who reads the line of the first signal in the log finds health as the line says."""
    caplog.set_level(logging.INFO, "serving.program")
    lines: list[int] = []
    end = program._End()
    end.begin_lame_duck = lambda: lines.append(len(caplog.records))

    async def main() -> None:
        config = ServerConfig(lame_duck_seconds=lame_duck_seconds)
        program._on_signals(config, end.stop, end.draining.set, lambda _: None)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(end.stopping.wait(), 10)

    asyncio.run(main())

    assert lines == [0]
    assert len(caplog.records) == 1
    assert "SIGTERM" in caplog.text
