"""The uploads of a kit on the rented machine: unpacked and installed.

Imports nothing that only an upload brings.
"""

import subprocess
import sys
from pathlib import Path

from gpu.kit import archives, mosaics, parts
from gpu.work import Work

RUNTIME = "runtime.tar.xz"


def unpack(upload: Path, work: Work) -> list[str]:
    """Unpack an upload, and install what is complete; a second call changes nothing.

    Args:
        upload: Folder of the upload; call this for the uploads in their order.
        work: The work folder.

    Returns:
        Names of the files that the upload completed.

    Raises:
        DamagedFile: a file differs from the packed one, or an earlier upload is missing.
    """
    complete = parts.receive(upload, work.root)
    if RUNTIME in complete and not (work.site / "onnxruntime").exists():
        archives.unpack(work.root / RUNTIME, work.site)
    wheels = [str(work.root / name) for name in complete if name.startswith("wheels/")]
    if wheels:
        _install(wheels, work.site)
    if work.site.exists():
        work.link_cuda_libraries()
    if any(name.startswith("mosaics/") for name in complete):
        mosaics.unpack(work.mosaics, work.data)
    return complete


def _install(wheels: list[str], site: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(site)]
    subprocess.run([*command, *wheels], check=True)
