"""Versions that appear in a folder of models; imports nothing, so that attackers start fast."""

import shutil
from pathlib import Path


def publish_again(model_dir: Path, version: int) -> None:
    """Copy version 1 as another version, which appears as a whole."""
    hidden = model_dir / f".{version}"
    shutil.copytree(model_dir / "1", hidden)
    hidden.rename(model_dir / str(version))
