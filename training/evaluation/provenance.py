"""Where figures come from: the processor, and the commit of the code that measured them."""

import platform
import subprocess
import sys
from pathlib import Path


def cpu_name() -> str | None:
    """The processor's name as its maker gives it; None if nothing tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def package_commit(module: str) -> str | None:
    """Commit of the top-level package that a module belongs to, as `git_commit` gives it.

    Args:
        module: `__name__` of the module; however deep it lies, changes anywhere in its top-level
            package count.
    """
    package = sys.modules[module.partition(".")[0]]
    return git_commit(Path(str(package.__file__)).parent)


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
