"""The origin of figures: the processor, and the version and commit of the code that made them."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "onnx-serving"


def cpu_name() -> str | None:
    """Return the processor's model name; None if the system does not give it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def program_version() -> str:
    """Return what `--version` prints: name and version of the installed distribution."""
    try:
        return f"{_DISTRIBUTION} {metadata.version(_DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return f"{_DISTRIBUTION}, not installed: the version is unknown"


def package_commit(module: str) -> str | None:
    """Return the commit of a module's top-level package, see `git_commit`.

    Args:
        module: `__name__` of the module; changes anywhere in its top-level package count.
    """
    package = sys.modules[module.partition(".")[0]]
    return git_commit(Path(str(package.__file__)).parent)


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out in a folder, with "-dirty" if its files were changed.

    Args:
        folder: Folder of a package.

    Returns:
        The commit; None if the folder is in no git checkout or git is missing.
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
