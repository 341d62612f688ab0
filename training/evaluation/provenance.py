"""Where figures come from, as far as the machine and git tell: needs the standard library alone."""

import platform
import subprocess
from pathlib import Path


def cpu_name() -> str | None:
    """The processor's name as its maker gives it; None if nothing tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def git_commit(folder: Path) -> str | None:
    """Commit that a folder was read from, with "-dirty" if files of it were changed since.

    Args:
        folder: A package's folder; None comes back if it is in no checkout.
    """
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "."))
        )
    except (OSError, subprocess.SubprocessError):
        return None  # an installed package, or no git
    return f"{commit}-dirty" if changes else commit
