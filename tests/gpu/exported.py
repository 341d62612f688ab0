"""The trainings that came back, exported behind the gate on this machine's CPU."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpu import carried_run
from gpu.machine import ROOT
from gpu.results import Results, reason


def names(folder: Path) -> list[str]:
    """Return the names of the runs whose parts a folder has."""
    return sorted({file.name.partition(".tar.")[0] for file in folder.rglob("*.tar.000-*")})


def run(found: Sequence[str], folder: Path, models_dir: Path, data_dir: Path | None) -> bool:
    """Restore runs and publish them with `python -m export`; the results go to `export.json`.

    Args:
        found: Names of the runs.
        folder: Folder with the parts; gets `export.json`.
        models_dir: Folder of models to publish in.
        data_dir: See training.data.cifar10.load.

    Returns:
        Whether the gate passed all of them.
    """
    results = Results("export", folder, device="cpu")
    for name in found:
        with tempfile.TemporaryDirectory() as temporary:
            run_dir = Path(temporary) / name
            try:
                metrics = carried_run.restore(folder, name, run_dir, data_dir)
            except (OSError, ValueError) as error:
                results.add({"model": name, "ok": False, "error": reason(error)})
                continue
            row = {"model": name, "top1": metrics["top1"], "n": metrics["n"]}
            results.add(row | metrics["transport"] | _publish(run_dir, models_dir, data_dir))
    results.finish()
    return results.ok


def _publish(run_dir: Path, models_dir: Path, data_dir: Path | None) -> dict[str, object]:
    command = [sys.executable, "-m", "export", str(run_dir), "--models-dir", str(models_dir)]
    command += ["--precision", "fp32,fp16", *(["--data-dir", str(data_dir)] if data_dir else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines() or ["no message"]
        return {"ok": False, "error": last[-1][:300]}
    return {"ok": True, **_variants(models_dir / run_dir.name)}


def _variants(model: Path) -> dict[str, object]:
    newest = max(
        (path for path in model.iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )
    variants = json.loads((newest / "metrics.json").read_text(encoding="utf-8"))["variants"]
    return {f"top1_{name}": entry["top1"] for name, entry in variants.items()}
