import asyncio
import logging
import time

from sample_models import tiny_models

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.loading import progress
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable


def test_a_long_load_is_reported_with_what_it_is_at(caplog):
    """A load logs its current stage every few seconds, and nothing after it has ended."""
    caplog.set_level(logging.INFO)

    def load():
        for stage in ("reading", "warming up"):
            progress.note(stage)
            until = time.monotonic() + 10
            while stage not in said() and time.monotonic() < until:
                time.sleep(0.01)

    def said():
        return list(dict.fromkeys(record.args[2] for record in caplog.records))

    async def run():
        async with progress.reported("m/1", seconds=0.01):
            await asyncio.to_thread(load)
        lines = len(caplog.records)
        await asyncio.sleep(0.05)
        return lines

    lines = asyncio.run(run())

    assert said() == ["reading", "warming up"]
    assert caplog.records[0].getMessage() == "still loading m/1 after 0 s: reading"
    assert len(caplog.records) == lines


def test_notes_outside_of_a_report_are_ignored():
    """`note` outside of `reported` does nothing: exports load graphs, too."""
    progress.note("reading")


def test_the_stages_of_a_load_are_noted(tmp_path, monkeypatch):
    """A load notes its stages in order, so that the log can name the slow one."""
    stages = []
    monkeypatch.setattr(progress, "note", stages.append)
    path = tiny_models.identity(tmp_path)

    Servable.load("identity", 1, path, RuntimeConfig(device="cpu"), BatchingConfig()).close()

    assert stages == [
        "reading and verifying its files",
        "ONNX Runtime prepares its graphs",
        "proving row independence",
        "warming up",
    ]
