"""The checkout's tracked files, which travel with every upload, and the large ones among them.

The large files (the graphs of ResNet50) are moved out of the checkout while it is uploaded; the kit
has those that the steps need. `git` sees them as deleted meanwhile.
"""

import subprocess
from pathlib import Path

LARGE_BYTES = 1 << 20


def tracked(checkout: Path) -> list[str]:
    """Return the paths of the tracked files that exist, relative to the checkout."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (checkout / name).is_file()]


def large(checkout: Path) -> list[str]:
    """Return the tracked files of a megabyte and more, which stay behind."""
    return [name for name in tracked(checkout) if _size(checkout, name) >= LARGE_BYTES]


def travelling_bytes(checkout: Path) -> int:
    """Return the size of the tracked files without the large ones, in bytes."""
    sizes = [_size(checkout, name) for name in tracked(checkout)]
    return sum(size for size in sizes if size < LARGE_BYTES)


def put_aside(checkout: Path, aside: Path) -> list[str]:
    """Move the large files to another folder; return their paths."""
    names = large(checkout)
    for name in names:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).rename(aside / name)
    return names


def put_back(checkout: Path, aside: Path) -> list[str]:
    """Move the files that were put aside back; return their paths."""
    files = [file for file in sorted(aside.rglob("*")) if file.is_file()]
    for file in files:
        file.rename(checkout / file.relative_to(aside))
    return [str(file.relative_to(aside)) for file in files]


def _size(checkout: Path, name: str) -> int:
    return (checkout / name).stat().st_size
