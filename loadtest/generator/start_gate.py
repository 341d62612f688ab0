"""The common start of several runs, each in a process of its own.

A run that is warm makes a file and waits for another one, which holds the time at which all start.
Processes of one machine share the clock of time.monotonic_ns.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

# Names the folder of the files and, as its last part, the run.
VARIABLE = "LOADTEST_START_GATE"
_START_FILE = "start"
_READY_SUFFIX = ".ready"
_POLL_SECONDS = 0.01


class StartGate:
    """The gate of one run."""

    def __init__(self, place: Path) -> None:
        """Start closed.

        Args:
            place: Folder of the gate and name of the run.
        """
        self._ready = place.with_name(place.name + _READY_SUFFIX)
        self._start = place.with_name(_START_FILE)
        self._given_up = False

    async def start_ns(self) -> int:
        """Say that this run is ready, and wait for the time at which it starts.

        Returns:
            The start on the clock of time.monotonic_ns; now if the run was given up.
        """
        self._ready.touch()
        while not self._start.exists():
            if self._given_up:
                return time.monotonic_ns()
            await asyncio.sleep(_POLL_SECONDS)
        return int(self._start.read_text(encoding="ascii"))

    def give_up(self) -> None:
        """End the wait: the run was stopped."""
        self._given_up = True


def from_environment(environment: Mapping[str, str] = os.environ) -> StartGate | None:
    """Return the gate that the parent process set up; None for a run of its own."""
    place = environment.get(VARIABLE)
    return None if place is None else StartGate(Path(place))


def is_ready(folder: Path, run: str) -> bool:
    """Return whether a run waits at its gate."""
    return (folder / f"{run}{_READY_SUFFIX}").exists()


def open_all(folder: Path, start_ns: int) -> None:
    """Let all runs of a folder start.

    Args:
        folder: Folder of the gates.
        start_ns: The start on the clock of time.monotonic_ns.
    """
    # Renamed, so that no run reads half of the number.
    part = folder / f"{_START_FILE}.part"
    part.write_text(str(start_ns), encoding="ascii")
    part.rename(folder / _START_FILE)
