"""Archives of files for the rented machine: `.tar.xz`, without owners and times."""

import io
import tarfile
import tempfile
from pathlib import Path
from typing import Literal


def create(archive: Path, *, preset: Literal[0, 6] = 6) -> tarfile.TarFile:
    """Open a new `.tar.xz`; `preset` is the effort of xz."""
    return tarfile.open(archive, "w:xz", preset=preset)


def add(target: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file; shared libraries are executable."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o755 if name.endswith(".so") else 0o644
    target.addfile(info, io.BytesIO(content))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive: its top folders appear in `folder` as a whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as staging, tarfile.open(archive) as content:
        content.extractall(staging, filter="data")
        for entry in Path(staging).iterdir():
            entry.rename(folder / entry.name)
