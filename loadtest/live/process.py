"""The process of a view: it receives increments, scores answers, and draws or reports figures.

`python -m loadtest.live.process screen|figures`: standard input is a socket to the load generator.
`screen` draws on the terminal at standard output. `figures` sends a text for the lines of a log.
The process ends with the load generator, even if that is killed.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.live import Live

from loadtest.live import screen
from loadtest.live.held_output import write_held
from loadtest.live.link import SCREEN, Unpacker, packed
from loadtest.live.screen import Picture
from loadtest.live.tally import Snapshot, Tally, VerdictSoFar
from loadtest.session.watcher import Beginning, Briefing

# Lower priority than the load generator and its server, which are measured.
_NICENESS = 10
_SCREEN_SECONDS, _FIGURES_SECONDS = 0.5, 1.0
# The rules look at all requests; they are applied again after this multiple of the time they took.
_PAUSES = 10
_READ_BYTES = 1 << 18
_NS_PER_SECOND = 1_000_000_000


@dataclass
class View:
    """The state of the process.

    Attributes:
        ended: Whether the load generator said that everything is over.
    """

    ended: bool = False
    _briefing: Briefing | None = None
    _run: Beginning | None = None
    _tally: Tally | None = None
    _verdict: VerdictSoFar | None = None
    _judge_after: float = 0.0
    _steps: list[str] = field(default_factory=list)
    _number: int = 0

    def handle(self, kind: str, value: Any) -> None:  # noqa: ANN401 - each kind has its own type
        """Take in a message of the load generator; see `link`."""
        now_ns = time.monotonic_ns()
        if kind == "brief":
            self._briefing = value
        elif kind == "begin" and self._briefing is not None:
            self._number, self._run = value
            self._tally = Tally(self._briefing, self._run, now_ns)
            self._verdict, self._judge_after = None, 0.0
        elif kind == "increment" and self._tally is not None:
            self._tally.add(value, now_ns)
        elif kind == "note":
            self._steps.append(value)
        elif kind == "end":
            self.ended = True

    def picture(self) -> Picture | None:
        """Return what the screen shows; None before the briefing."""
        if self._briefing is None:
            return None
        snapshot = self._snapshot()
        if self._tally is not None and snapshot is not None and snapshot.seconds is not None:
            began = time.monotonic()
            if began >= self._judge_after:
                self._verdict = self._tally.verdict()
                took = time.monotonic() - began
                self._judge_after = began + _PAUSES * took
        return Picture(
            config=self._briefing.config,
            run=self._run,
            snapshot=snapshot,
            verdict=self._verdict,
            steps=self._steps,
        )

    def figures(self) -> tuple[int, str]:
        """Return the number of the run and the text for a line of a log."""
        snapshot = self._snapshot()
        return self._number, "" if snapshot is None else screen.line(snapshot)

    def _snapshot(self) -> Snapshot | None:
        return None if self._tally is None else self._tally.snapshot(time.monotonic_ns())


class Canvas:
    """The terminal that pictures are drawn on."""

    def __init__(self) -> None:
        """Take over the terminal at standard output."""
        self._console = Console(
            file=sys.stdout,
            force_terminal=True,
            # Texts may hold brackets and colons: the address [::1]:8500.
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        signal.signal(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, picture: Picture) -> None:
        """Draw a picture in the terminal's present size."""
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        if columns and lines:  # some terminals have no size: 0
            self._console.size = columns, lines
        columns, lines = self._console.size
        self._live.update(screen.render(picture, columns, lines), refresh=True)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Leave the screen while Ctrl-Z stops the load test."""
        self._live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._live.start()


class Inbox:
    """The messages of the load generator, taken in by a view."""

    def __init__(self, view: View, connection: socket.socket) -> None:
        """Start to receive.

        Args:
            view: The view.
            connection: Socket to the load generator.
        """
        self._view = view
        self._connection = connection
        self._received = Unpacker()

    def follow(self, seconds: float) -> bool:
        """Take in messages for a time; return False if the load generator has ended before."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self._connection], [], [], left)
            if readable:
                content = self._connection.recv(_READ_BYTES)
                for kind, value in self._received.feed(content):
                    self._view.handle(kind, value)
                if self._view.ended or not content:
                    return False
        return True


def show_screen(view: View, connection: socket.socket, held: int) -> None:
    """Draw until the load generator ends.

    Args:
        view: The view.
        connection: Socket to the load generator.
        held: Descriptor of the file with the output that is held back.
    """
    inbox = Inbox(view, connection)
    with Canvas() as canvas:
        connection.sendall(packed(("ready", None)))
        goes_on = True
        while goes_on:
            goes_on = inbox.follow(_SCREEN_SECONDS)
            picture = view.picture()
            if picture is not None:
                canvas.draw(picture)
    if not view.ended:  # the load generator was killed, and cannot say its last words itself
        write_held(held, sys.stdout.fileno())


def send_figures(view: View, connection: socket.socket) -> None:
    """Send figures every second until the load generator ends."""
    inbox = Inbox(view, connection)
    connection.sendall(packed(("ready", None)))
    while inbox.follow(_FIGURES_SECONDS):
        connection.sendall(packed(("figures", view.figures())))


def main(arguments: list[str]) -> int:
    """Show a view until the load generator ends.

    Args:
        arguments: "screen" and the descriptor of the file of held output, or "figures".
    """
    # Ctrl-C and a closing terminal reach every process of a terminal; the load generator decides
    # what follows from them, and this process ends with it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    view = View()
    with (
        socket.socket(fileno=os.dup(sys.stdin.fileno())) as connection,
        contextlib.suppress(OSError),  # the terminal is closed, or the load generator gone
    ):
        if arguments[0] == SCREEN:
            show_screen(view, connection, int(arguments[1]))
        else:
            send_figures(view, connection)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
