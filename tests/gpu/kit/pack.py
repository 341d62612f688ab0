"""Packs what the rented machine lacks, in uploads of limited size, with a script for each."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gpu import steps
from gpu.kit import mosaics, parts, provider, tree
from gpu.kit.target import MEGABYTE, Target
from gpu.kit.uploads import RUNTIME
from gpu.machine import ROOT

from training.evaluation import provenance

SCRIPT = "run.sh"
# Room for the index, the script and the names of files.
_RESERVE_BYTES = MEGABYTE // 2
# The graphs that stay behind with the large files and that CUDA does not run.
_NOT_NEEDED = ".int8.onnx"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A packed upload.

    Attributes:
        folder: Its folder.
        bytes: Its size, in bytes, without the checkout's.
        steps: Names of the steps that run after it.
    """

    folder: Path
    bytes: int
    steps: tuple[str, ...]


def pack(
    target: Target,
    output: Path,
    *,
    data_dir: Path,
    installed_runtime: bool = False,
    wheels: Sequence[str] | None = None,
    side: int = mosaics.SIDE,
) -> list[Upload]:
    """Pack the kit; files of an earlier call that are still right are used again.

    Args:
        target: The rented machine.
        output: Folder of the kit; it is created if it is missing.
        data_dir: Folder with CIFAR-10's `.bin` files.
        installed_runtime: Pack this environment's ONNX Runtime, for a rehearsal on the CPU, instead
            of the one for GPUs.
        wheels: Names of the packages to pack; None for the target's.
        side: See `mosaics.pack`.

    Returns:
        The uploads, in their order.

    Raises:
        DataError: the data cannot be read.
        ValueError: an upload has no room, or ONNX Runtime has no code for the architecture.
    """
    files = output / "files"
    files.mkdir(parents=True, exist_ok=True)
    _plan(target, files)
    _once(files / RUNTIME, lambda file: _runtime(target, file, installed=installed_runtime))
    _wheels(target, files / "wheels", target.wheels if wheels is None else wheels)
    _large_graphs(files / "large", output / "aside")
    if not (files / "mosaics").exists():
        mosaics.pack(data_dir, output / "mosaics.part", side=side)
        (output / "mosaics.part").rename(files / "mosaics")
    room = target.upload_bytes - tree.travelling_bytes(ROOT) - _RESERVE_BYTES
    return _write(parts.plan(files, _in_order(files), room), target, files, output)


def _plan(target: Target, files: Path) -> None:
    commit = provenance.git_commit(ROOT)
    plan = {"commit": commit, "minutes": target.minutes, "download": asdict(target.download)}
    (files / "plan.json").write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _once(file: Path, make: Callable[[Path], None]) -> None:
    """Make a file unless it exists; a call that is interrupted leaves none."""
    if not file.exists():
        partial = file.with_name(f"part-{file.name}")
        make(partial)
        partial.rename(file)


def _runtime(target: Target, file: Path, *, installed: bool) -> None:
    if installed:
        provider.pack_installed(file)
        return
    folder = file.parent.parent / "downloads"
    _download(target, folder, ["onnxruntime-gpu"])
    wheel = next(folder.glob("onnxruntime_gpu-*.whl"))
    trimmed = provider.pack_wheel(wheel, file, target.architecture)
    print(
        f"{wheel.name}: GPU code for sm_{target.architecture} kept {trimmed.kept / 1e6:.1f} MB, "
        f"unused kernels {trimmed.unused / 1e6:.1f} MB and other architectures "
        f"{trimmed.others / 1e6:.1f} MB left out",
        flush=True,
    )


def _wheels(target: Target, folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    have = {file.name.partition("-")[0] for file in folder.glob("*.whl")}
    missing = [name for name in names if name.replace("-", "_") not in have]
    if missing:
        _download(target, folder, missing)


def _download(target: Target, folder: Path, names: Sequence[str]) -> None:
    """Download wheels for the target's Python, in the versions of constraints.txt."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", target.python_version, "--abi", target.abi]
    command += ["--abi", "abi3", "--abi", "none"]
    command += [flag for platform in target.platforms for flag in ("--platform", platform)]
    command += ["-c", str(ROOT / "constraints.txt"), "--dest", str(folder)]
    subprocess.run([*command, *names], check=True)


def _large_graphs(folder: Path, aside: Path) -> None:
    """Copy the large graphs that the steps need, from the checkout or where they were put aside."""
    for place in (ROOT, aside):
        for file in sorted((place / "models").rglob("*.onnx")):
            wanted = file.stat().st_size >= tree.LARGE_BYTES and not file.name.endswith(_NOT_NEEDED)
            copy = folder / file.relative_to(place / "models")
            if wanted and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _in_order(files: Path) -> list[str]:
    """Return the names of the files, in the order in which the steps need them."""
    names = ["plan.json", RUNTIME]
    for folder in ("wheels", "large", "mosaics"):
        found = (file for file in (files / folder).rglob("*") if file.is_file())
        # The test images come first, because the checks can use them, and labels before images.
        ordered = sorted(
            found, key=lambda file: (not file.name.startswith("test"), file.suffix == ".webp", file)
        )
        names += [str(file.relative_to(files)) for file in ordered]
    return names


def _write(
    planned: list[list[parts.Piece]], target: Target, files: Path, output: Path
) -> list[Upload]:
    for old in output.glob("upload-*"):
        shutil.rmtree(old)
    complete = [{piece.name for piece in pieces if piece.ends_file} for pieces in planned]
    names = set().union(*complete)
    runs: dict[int, list[str]] = {}
    for step in steps.STEPS.values():
        needed = {name for name in names if name.startswith(step.needs)}
        last = max(number for number, done in enumerate(complete, 1) if done & needed)
        runs.setdefault(max(last, min(step.upload, len(planned))), []).append(step.name)
    uploads = []
    for number, pieces in enumerate(planned, 1):
        folder = output / f"upload-{number}"
        size = parts.write(files, pieces, folder)
        after = tuple(runs.get(number, ()))
        script = folder / SCRIPT
        script.write_text(_script(number, len(planned), after, target.minutes), encoding="utf-8")
        script.chmod(0o755)
        uploads.append(Upload(folder=folder, bytes=size, steps=after))
    return uploads


def _script(number: int, count: int, after: Sequence[str], minutes: float) -> str:
    names = [steps.UNPACK.name, *after]
    seconds = sum(steps.limit(name, minutes) for name in names)
    return f"""#!/usr/bin/env bash
# Upload {number} of {count}: {", ".join(names)}; at most {seconds:.0f} s.
# The checkout is the folder above build/; results go to $OUT, or to build/gpu-results.
# Further arguments go to the steps, such as --device cpu.
kit=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
exec python3 "${{CHECKOUT:-$kit/../../..}}/tests/gpu" steps {" ".join(names)} \\
  --minutes {minutes:g} --upload "$kit" --work "${{WORK:-$HOME/gpu-kit}}" \\
  --output "${{OUT:-build/gpu-results}}" "$@"
"""


def describe(uploads: Sequence[Upload], target: Target, began: float) -> str:
    """Return a table of the uploads for the terminal.

    Args:
        uploads: The uploads.
        target: The rented machine.
        began: Time of `time.monotonic` at which packing began.
    """
    checkout = tree.travelling_bytes(ROOT)
    lines = [f"packed in {time.monotonic() - began:.0f} s; 1 MB = 2**20 bytes"]
    for number, upload in enumerate(uploads, 1):
        limits = [steps.limit(name, target.minutes) for name in (steps.UNPACK.name, *upload.steps)]
        lines.append(
            f"upload {number}: {upload.bytes / MEGABYTE:.1f} MB, with the checkout "
            f"{(upload.bytes + checkout) / MEGABYTE:.1f} of {target.upload_bytes / MEGABYTE:g} MB; "
            f"then unpack{''.join(f', {name}' for name in upload.steps)}: {sum(limits):.0f} s"
        )
    behind = ", ".join(tree.large(ROOT)) or "nothing"
    lines.append(f"`python tests/gpu aside` moves out of the way, and `back` returns: {behind}")
    return "\n".join(lines)
