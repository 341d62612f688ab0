"""The wall clock of processes under test, which jumps when it is told to."""

import shutil
import subprocess
from pathlib import Path

import pytest

DAY_SECONDS = 86_400
_SOURCE = Path(__file__).with_suffix(".c")


def compiler() -> str | None:
    """Return the C compiler that `JumpingClock` needs; None if there is none."""
    return shutil.which("cc") or shutil.which("gcc")


class JumpingClock:
    """A wall clock that processes with its environment variables have, from their start on.

    Attributes:
        environment: The environment variables.
    """

    def __init__(self, folder: Path) -> None:
        """Compile the library that changes the clock, into this folder; skip the test if needed."""
        command = compiler()
        if command is None:
            pytest.skip("there is no C compiler to build the clock that jumps")
        library = folder / "jumping_clock.so"
        subprocess.run(
            [command, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE], check=True, timeout=60
        )
        self._file = folder / "clock_offset"
        self.jump_to(0)
        self.environment = {"LD_PRELOAD": str(library), "JUMPING_CLOCK_FILE": str(self._file)}

    def jump_to(self, seconds: int) -> None:
        """Set how far the clock is ahead of the real one, which may be negative."""
        if self._file.exists():
            with self._file.open("r+b") as file:  # processes have mapped this very file
                file.write(seconds.to_bytes(8, "little", signed=True))
        else:
            self._file.write_bytes(seconds.to_bytes(8, "little", signed=True))
