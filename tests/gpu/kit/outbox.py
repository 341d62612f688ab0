"""Files that wait for being brought back, because one command brings back only so many."""

from pathlib import Path


def deliver(
    outbox: Path, output: Path, *, files: int, total_bytes: int
) -> tuple[list[str], list[str]]:
    """Move as many files to the folder of results as one command brings back.

    Args:
        outbox: Folder of the waiting files; a missing one is empty.
        output: Folder of results; its files count towards the limits.
        files: Most files in the folder of results.
        total_bytes: Most bytes of them together.

    Returns:
        Names of the moved files, and of those that still wait.
    """
    there = [file.stat().st_size for file in output.rglob("*") if file.is_file()]
    files, total_bytes = files - len(there), total_bytes - sum(there)
    moved: list[str] = []
    left: list[str] = []
    for file in sorted(outbox.glob("*")):
        size = file.stat().st_size
        if left or files < 1 or size > total_bytes:
            left.append(file.name)
            continue
        file.rename(output / file.name)
        files, total_bytes = files - 1, total_bytes - size
        moved.append(file.name)
    return moved, left
