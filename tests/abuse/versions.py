"""Publishes versions in a folder of models; imports only the standard library, to start fast."""

import shutil
from pathlib import Path


def publish_again(model_dir: Path, version: int) -> None:
    """Copy version 1 as another version; the new folder appears complete, by a rename."""
    hidden = model_dir / f".{version}"
    shutil.copytree(model_dir / "1", hidden)
    hidden.rename(model_dir / str(version))
