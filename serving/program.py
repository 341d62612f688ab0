"""The program `python -m serving`: reads the settings and serves, in one of three ways.

It runs as a single process, as the supervisor of several workers, or as one of them.
"""

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

# Time that the process has after the drain to end by itself, before `_exit_after` ends it.
_LAST_RESORT_SECONDS = 1.0


async def serve(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT, then stop, see `_on_signals`.

    Returns:
        The exit code: 0 after a drain, 1 after the web server has failed.

    Raises:
        ConfigError, DeviceError: the server cannot start with these settings.
    """
    server = ModelServer(config)
    end = _End()
    _on_signals(config, end.stop, end.draining.set, os._exit)
    return await _run(server, end)


async def serve_as_worker(config: ServerConfig, assignment: Assignment) -> int:
    """Serve as one of several worker processes, until a signal or the end of the supervisor.

    Returns:
        The exit code, as for `serve`.

    Raises:
        ConfigError, DeviceError: as for `serve`.
    """
    link = Link(assignment)
    await link.open()
    server = ModelServer(dataclasses.replace(config, port=assignment.port), link=link)
    end = _End()
    _on_signals(config, end.stop, end.draining.set, os._exit)
    watching = asyncio.create_task(link.wait_closed())
    watching.add_done_callback(lambda _: end.at_once())
    return await _run(server, end)


async def supervise(config: ServerConfig, arguments: list[str]) -> int:
    """Serve with several worker processes; signals as for `serve`.

    Args:
        config: The settings.
        arguments: Command-line arguments of this process, which the workers get too.

    Returns:
        The exit code: 0 if all workers drained, else 1.

    Raises:
        ConfigError: the server cannot start with these settings.
    """
    supervisor = Supervisor(config, arguments)

    def quit_now(code: int) -> None:
        supervisor.kill()
        os._exit(code)

    _on_signals(config, supervisor.stop, supervisor.drain, quit_now)
    return await supervisor.run()


class _End:
    """The steps of a server's end.

    Attributes:
        stopping: Set when the server is to stop: first the lame duck, if there is one.
        draining: Set when the lame duck is to end before its time is over.
        begin_lame_duck: Begins the lame duck of a server that has started; None before.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.draining = asyncio.Event()
        self.begin_lame_duck: Callable[[], None] | None = None

    def stop(self) -> None:
        """Stop the server; health has changed when this returns, and the log may say so."""
        if self.begin_lame_duck is not None:
            self.begin_lame_duck()
        self.stopping.set()

    def at_once(self) -> None:
        """Stop without a lame duck."""
        self.draining.set()
        self.stopping.set()


def _on_signals(
    config: ServerConfig,
    stop: Callable[[], None],
    drain: Callable[[], None],
    quit_now: Callable[[int], object],
) -> None:
    """Call `stop` on the first SIGTERM or SIGINT, and `quit_now` with the exit code on the last.

    The last is the second signal. One that comes during the lame duck does not count: it calls
    `drain`, which is to end the lame duck.
    """
    loop = asyncio.get_running_loop()

    def on_next(handler: Callable[[signal.Signals], object]) -> None:
        # Never the default handler: the kernel ignores it in process 1 of a container.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, handler, number)

    def last(received: signal.Signals) -> None:
        quit_now(128 + received)

    def second(received: signal.Signals) -> None:
        logger.info("%s: finishing the calls in flight; the next ends the process", received.name)
        on_next(last)
        drain()

    def first(received: signal.Signals) -> None:
        stop()
        if config.lame_duck_seconds:
            on_next(second)
            loop.call_later(config.lame_duck_seconds, on_next, last)
            logger.info(
                "%s: health answers NOT_SERVING, and calls are answered for %g s more "
                "(--lame_duck_seconds); a second signal ends this time, a third one the process",
                received.name,
                config.lame_duck_seconds,
            )
        else:
            on_next(last)
            logger.info(
                "%s: finishing the calls in flight; a second signal ends the process at once",
                received.name,
            )

    on_next(first)


async def _run(server: ModelServer, end: _End) -> int:
    """Run a server until it is to stop or fails; return the exit code.

    `end.stopping` may be set while the server is still starting; then nobody knows it yet, and it
    has no lame duck.
    """
    starting = asyncio.create_task(server.start())
    waiting = asyncio.create_task(end.stopping.wait())
    failing = asyncio.create_task(server.wait_failed())
    draining = asyncio.create_task(end.draining.wait())
    tasks = (starting, waiting, failing, draining)
    try:
        await asyncio.wait({starting, waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            end.begin_lame_duck = server.begin_lame_duck
        await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not failing.done():
            server.begin_lame_duck()  # changes nothing if `end.stop` has begun it
            await asyncio.wait(
                {draining, failing},
                timeout=server.config.lame_duck_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        has_failed = failing.done()
    finally:
        _exit_after(server.config.drain_seconds + _LAST_RESORT_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        if active_runs.ACTIVE:
            _end_now()
    logger.info("stopped")
    if server.manager.loads:
        # Python's exit would wait for the threads that are still loading versions.
        logger.info("exiting while still loading %s", ", ".join(server.manager.loads))
        logging.shutdown()
        os._exit(int(has_failed))
    return int(has_failed)


def _exit_after(seconds: float) -> None:
    """End the process after this many seconds, even during a run, a load or Python's exit."""

    def work() -> None:
        time.sleep(seconds)
        _end_now()

    threading.Thread(target=work, name="last-resort", daemon=True).start()


def _end_now() -> NoReturn:
    """End the process without Python's exit, which would destroy objects that a run still uses."""
    runs = ", ".join(map(str, active_runs.ACTIVE)) or "none"
    logger.error("the drain is over, ending the process; runs still active: %s", runs)
    logging.shutdown()
    os._exit(1)


def _do_not_preempt() -> None:
    """Set the scheduling policy SCHED_BATCH: a thread that wakes another one keeps its core.

    Every answer wakes the web server's thread. If both threads share a core, the kernel would
    otherwise switch between them for each answer of a batch. With SCHED_BATCH, the web server
    writes the answers of a batch together, which saves a tenth of the CPU time, measured on one
    core. Threads started later inherit the policy.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _program() -> str:
    """Return how this process was started, for the help text: a command, or `PROGRAM`."""
    name = Path(sys.argv[0]).name
    return PROGRAM if name in {"__main__.py", "-m", ""} else name


def main() -> int:
    """Read the settings and serve; if the settings are wrong, print one line.

    Returns:
        The exit code: that of `serve`, or 2 if the settings are wrong.
    """
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
            for warning in (*warnings, *notices.exposure(config)):
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
            sys.stderr.write(f"error: {error}\n")
        code = 2
    return code
