"""The work folder of the steps: what was unpacked, made and trained."""

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.machine import ROOT


@dataclass(frozen=True)
class Work:
    """Paths in the work folder.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def site(self) -> Path:
        """Packages that the machine lacks, for PYTHONPATH."""
        return self.root / "site"

    @property
    def models(self) -> Path:
        """Folder of models with the graphs that CUDA runs."""
        return self.root / "models"

    @property
    def large_graphs(self) -> Path:
        """Folder of models with the graphs that the uploaded checkout lacks."""
        return self.root / "large"

    @property
    def mosaics(self) -> Path:
        """CIFAR-10 as pictures."""
        return self.root / "mosaics"

    @property
    def data(self) -> Path:
        """CIFAR-10's binary batches."""
        return self.root / "cifar10"

    @property
    def runs(self) -> Path:
        """Run folders of the trainings."""
        return self.root / "runs"

    @property
    def outbox(self) -> Path:
        """Files that wait for being brought back."""
        return self.root / "outbox"

    def plan(self) -> dict[str, Any]:
        """Return the plan of the kit: commit, and limits on what comes back; empty without one."""
        file = self.root / "plan.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def python_path(self) -> str:
        """Return PYTHONPATH for the steps: the checkout, its tests, and the packages."""
        return ":".join(str(path) for path in (self.site, ROOT, ROOT / "tests"))

    def link_cuda_libraries(self) -> None:
        """Let ONNX Runtime, which searches beside itself, find the machine's CUDA libraries."""
        libraries = Path(sysconfig.get_path("purelib")) / "nvidia"
        link = self.site / "nvidia"
        if libraries.is_dir() and not link.exists():
            link.symlink_to(libraries)
