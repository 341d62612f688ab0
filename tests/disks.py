"""Small disks that tests fill up, and the limit on file sizes: real errors of a real system."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_FILLER = "filler"


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own in memory.

    Attributes:
        path: Its folder.
        shell: A shell that may mount and sees the folder as `mounted`.
        mounted: The folder's path in the shell.
    """

    path: Path
    shell: "subprocess.Popen[str]"
    mounted: Path

    def fill(self, *, leave: int) -> None:
        """Write a file that leaves so many bytes free."""
        system = os.statvfs(self.path)
        size = system.f_bavail * system.f_frsize - leave
        assert size > 0, f"only {size + leave} bytes are free"
        with (self.path / _FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Remove the file of `fill`."""
        (self.path / _FILLER).unlink()

    def make_read_only(self, *, on: bool = True) -> None:
        """Mount the disk read-only, or writable again."""
        _run(self.shell, f"mount -o remount,bind,{'ro' if on else 'rw'} '{self.mounted}'")

    def files(self) -> set[str]:
        """Return the paths of all files and folders, relative to the disk, without the filler."""
        found = (str(path.relative_to(self.path)) for path in self.path.rglob("*"))
        return set(found) - {_FILLER}


@contextlib.contextmanager
def small_disk(folder: Path, *, size: int) -> Iterator[SmallDisk]:
    """Mount a file system of `size` bytes at an empty folder; skip the test if that is forbidden.

    Without the right to mount, the file system is mounted in a namespace of the user, and its path
    is that of the namespace's shell under /proc. The kernel removes it with the shell.
    """
    reasons = []
    ways: list[tuple[list[str], bool]] = [([], False)]
    if shutil.which("unshare"):
        ways.append((["unshare", "-rm"], True))
    for prefix, apart in ways:
        shell = subprocess.Popen(
            [*prefix, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with shell:
            try:
                _run(shell, f"mount -t tmpfs -o size={size},mode=777 tmpfs '{folder}'")
            except OSError as error:
                reasons.append(str(error))
                shell.kill()
                continue
            try:
                path = Path(f"/proc/{shell.pid}/root{folder}") if apart else folder
                yield SmallDisk(path, shell, folder)
            finally:
                # Lazily, because a failed test may have left open files.
                with contextlib.suppress(OSError):
                    _run(shell, f"umount -l '{folder}'")
                shell.kill()
            return
    pytest.skip(f"no disk can be mounted here: {'; '.join(reasons)}")


def limited_to(size: int) -> list[str]:
    """Return the start of a command line that limits the files of its process to `size` bytes.

    `subprocess` could do so between fork and exec, but JAX warns of a fork of this process.
    """
    return ["prlimit", f"--fsize={size}"]


def make_full(file: Path) -> None:
    """Let the next write of a file by `training.storage` find a full disk, whatever its size."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_name(f".tmp-{file.name}").symlink_to("/dev/full")


def _run(shell: "subprocess.Popen[str]", command: str) -> None:
    """Run a command in a shell.

    Raises:
        OSError: It failed; the message is its output.
    """
    assert shell.stdin is not None
    assert shell.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        shell.stdin.write(f"{command} && echo done || echo failed\n")
        shell.stdin.flush()
    lines = []
    for line in shell.stdout:
        if line == "done\n":
            return
        if line == "failed\n":
            break
        lines.append(line.strip())
    raise OSError("; ".join(lines) or f"{command} failed")
