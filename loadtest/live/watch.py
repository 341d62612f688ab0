"""The load generator's side of a view: it starts the view's process and hands increments on."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self, TextIO

from loadtest.live.held_output import HeldOutput, is_capable
from loadtest.live.link import FIGURES, SCREEN, Link
from loadtest.load.increment import Increment
from loadtest.load.plan import Progress
from loadtest.session.progress_line import ProgressLine
from loadtest.session.stop_signals import leave_closed_terminal
from loadtest.session.watcher import Beginning, Briefing

# A run that ends within this time gets no process for the figures of its lines.
_FIGURES_AFTER_SECONDS = 5.0
# The view's process imports libraries before the first run, which it would disturb otherwise.
_READY_SECONDS = 20.0
_END_SECONDS = 5.0
_LOST_SECONDS = 0.5  # in the middle of a run, which must not wait long


class Watch:
    """A view of runs on standard error; used as a context manager.

    A terminal gets a full screen, unless plain lines are asked for. Everything else gets the line
    of ProgressLine, with percentiles and accuracy if a run takes longer than a few seconds.
    """

    def __init__(self, *, plain: bool, stream: TextIO | None = None) -> None:
        """Choose the form of the view.

        Args:
            plain: Whether lines are asked for.
            stream: Stream to write to; None for standard error.
        """
        self._stream = sys.stderr if stream is None else stream
        self._line = ProgressLine(self._stream)
        self._on_screen = not plain and is_capable(self._stream)
        self._held: HeldOutput | None = None
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ask: Callable[[], Briefing] | None = None
        self._run: Beginning | None = None
        self._runs = 0
        self._ready = asyncio.Event()
        self._figures = ""
        self._waiting: list[Increment] = []
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        if self._on_screen:
            self._held = HeldOutput(self._stream)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(_END_SECONDS)
        self._line.end()

    async def brief(self, ask: Callable[[], Briefing], expected_seconds: float | None) -> None:
        """See Watcher."""
        self._ask = ask
        if self._on_screen or (expected_seconds or 0.0) >= _FIGURES_AFTER_SECONDS:
            self._start()
            with contextlib.suppress(TimeoutError):  # the run need not wait any longer
                await asyncio.wait_for(self._ready.wait(), _READY_SECONDS)

    def begin(self, run: Beginning) -> None:
        """See Watcher."""
        self._run = run
        self._runs += 1
        self._figures = ""
        self._waiting = []
        self._line.restart()
        self._send("begin", (self._runs, run))

    def show(self, progress: Progress) -> None:
        """See Watcher."""
        for increment in progress.increments:
            self._hand_on(increment)
        if not self._on_screen:
            self._line.show(progress, self._figures)
            if self._process is None and self._line.seconds >= _FIGURES_AFTER_SECONDS:
                self._start()

    def note(self, text: str) -> None:
        """See Watcher."""
        if self._on_screen:
            self._notes.append(text)
            self._send("note", text)
        else:
            self._line.note(text)

    def _start(self) -> None:
        """Start the view's process and tell it what has happened until now."""
        if self._ask is None:
            return
        ours, theirs = socket.socketpair()
        command, output = [FIGURES], subprocess.DEVNULL
        files: list[int] = []
        if (held := self._held) is not None:
            command, output, files = [SCREEN, str(held.file)], held.terminal, [held.file]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.live.process", *command],
            stdin=theirs.fileno(),
            stdout=output,
            pass_fds=files,
        )
        theirs.close()
        self._link = Link(ours, self._receive, self._lose)
        self._send("brief", self._ask())
        if self._run is not None:
            self._send("begin", (self._runs, self._run))
        waiting, self._waiting = self._waiting, []
        for increment in waiting:
            self._hand_on(increment)

    def _hand_on(self, increment: Increment) -> None:
        """Send an increment, or keep it for a view that may start later."""
        if self._link is not None:
            self._send("increment", increment)
        elif self._process is None:
            self._waiting.append(increment)

    def _send(self, kind: str, value: object) -> None:
        if self._link is not None:
            self._link.send((kind, value))

    def _receive(self, message: tuple[str, Any]) -> None:
        kind, value = message
        if kind == "ready":
            self._ready.set()
        elif value[0] == self._runs:  # else it is about the step before
            self._figures = value[1]

    def _lose(self) -> None:
        """Go on with lines after the view's process ended."""
        self._ready.set()
        self._on_screen = False
        self._figures = ""
        self._leave(_LOST_SECONDS)

    def _leave(self, seconds: float) -> None:
        """End the view's process, and write what was held back meanwhile.

        Args:
            seconds: Longest time that the process may take to leave the screen.
        """
        if self._link is not None and self._held is not None:
            self._link.finish(("end", None), seconds)
        if self._process is not None:
            if self._held is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
            self._process.kill()
            failed = self._process.wait() != 0
            if failed and self._held is not None:
                self._held.restore_terminal()
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._held is not None:
            self._held.release()
            self._held = None
            leave_closed_terminal()
        for note in self._notes:
            self._stream.write(f"{note}\n")
        self._notes = []
