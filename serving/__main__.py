"""Start the model server: `python -m serving --models_dir models --port 8500`."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvloop

from serving.engine.batching import active_runs
from serving.engine.machine import collect_cycles_rarely, return_large_blocks
from serving.engine.runtime import DeviceError
from serving.errors import ConfigError
from serving.monitoring import log
from serving.server import ModelServer
from serving.settings import notices
from serving.settings.config import ServerConfig
from serving.settings.flags import PROGRAM, parse
from serving.transport.limits import open_files
from serving.workers.supervisor import Supervisor
from serving.workers.worker import Assignment, Link, report_error

logger = logging.getLogger(__name__)

# After the drain, for what ends by itself once it is told to.
_LAST_RESORT_SECONDS = 1.0


async def serve(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Returns:
        0 after a drain, 1 if the server could not answer any more.

    Raises:
        ConfigError, DeviceError: the server cannot start with these settings.
    """
    server = ModelServer(config)
    stopping = asyncio.Event()
    _on_signals(stopping.set, os._exit)
    return await _run(server, stopping)


async def serve_as_worker(config: ServerConfig, assignment: Assignment) -> int:
    """The same as one worker of several: it ends when its supervisor does, too."""
    link = Link(assignment)
    await link.open()
    server = ModelServer(dataclasses.replace(config, port=assignment.port), link=link)
    stopping = asyncio.Event()
    _on_signals(stopping.set, os._exit)
    watching = asyncio.create_task(link.wait_closed())
    watching.add_done_callback(lambda _: stopping.set())
    return await _run(server, stopping)


async def supervise(config: ServerConfig, arguments: list[str]) -> int:
    """Serve with several workers; signals and errors as for `serve`."""
    supervisor = Supervisor(config, arguments)

    def quit_now(code: int) -> None:
        supervisor.kill()
        os._exit(code)

    _on_signals(supervisor.stop, quit_now)
    return await supervisor.run()


def _on_signals(stop: Callable[[], None], quit_now: Callable[[int], object]) -> None:
    loop = asyncio.get_running_loop()

    def first(received: signal.Signals) -> None:
        logger.info("%s: finishing the calls in flight; again to quit at once", received.name)
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not the default handlers: process 1 of a container has none.
            loop.add_signal_handler(number, quit_now, 128 + number)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first, number)


async def _run(server: ModelServer, stopping: asyncio.Event) -> int:
    """Run a server until it is to stop, which may be while it still starts; gives the exit code."""
    starting = asyncio.create_task(server.start())
    waiting = asyncio.create_task(stopping.wait())
    failing = asyncio.create_task(server.wait_failed())
    try:
        await asyncio.wait({starting, waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
        await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        has_failed = failing.done()
    finally:
        _exit_after(server.config.drain_seconds + _LAST_RESORT_SECONDS)
        for task in (starting, waiting, failing):
            task.cancel()
        await asyncio.gather(starting, waiting, failing, return_exceptions=True)
        await server.stop()
        if active_runs.ACTIVE:
            _end_now()
    logger.info("stopped")
    if server.manager.loads:
        # Python's exit would wait for a thread that loads what nobody will ask for any more.
        logger.info("left in the middle of loading: %s", ", ".join(server.manager.loads))
        logging.shutdown()
        os._exit(int(has_failed))
    return int(has_failed)


def _exit_after(seconds: float) -> None:
    """End the process after so many seconds, whatever it is at: a run, a load, or its own exit."""

    def work() -> None:
        time.sleep(seconds)
        _end_now()

    threading.Thread(target=work, name="last-resort", daemon=True).start()


def _end_now() -> NoReturn:
    """End the process without Python's exit, which would destroy what a run still uses."""
    runs = ", ".join(map(str, active_runs.ACTIVE)) or "none"
    logger.error("the drain is over, ending the process; runs that go on: %s", runs)
    logging.shutdown()
    os._exit(1)


def _do_not_preempt() -> None:
    """Let this process's threads finish their turn before a thread that they wake runs.

    Every answer wakes the web server's thread. Where both share a core, the kernel would switch
    to it and back for each of a batch's answers; scheduled as a batch process, it writes them
    together. That was measured to save a tenth of the CPU time on one core. Threads inherit it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _program() -> str:
    """How this process was started: a command's name, or this package's module."""
    name = Path(sys.argv[0]).name
    return PROGRAM if name in {"__main__.py", "-m", ""} else name


def main() -> None:
    """Read the settings and serve; settings that do not work end in one line and exit code 2."""
    assignment = Assignment.of(os.environ)
    arguments = sys.argv[1:]
    try:
        config, warnings = parse(arguments, program=_program())
        _do_not_preempt()
        return_large_blocks()
        collect_cycles_rarely()
        open_files.raise_limit()
        log.configure(config.log_format, worker=assignment.number if assignment else None)
        if assignment is None:
            for warning in warnings:
                notices.warn_once(warning)
        elif assignment.number > 1:
            notices.mute()
        if assignment is not None:
            code = uvloop.run(serve_as_worker(config, assignment))
        elif config.workers > 1:
            code = uvloop.run(supervise(config, arguments))
        else:
            code = uvloop.run(serve(config))
    except (ConfigError, DeviceError) as error:
        if assignment is not None:
            report_error(assignment, str(error))
        else:
            print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
