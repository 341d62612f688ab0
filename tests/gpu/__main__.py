"""Checks and measures the CUDA path: `make gpu-check`, or the steps of `make gpu-kit`.

`all` runs every step on this machine. `pack` makes a kit for a rented machine without a network,
`steps` runs there what an upload's script names, and `export` and `report` take what came back.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In place of this folder, whose modules are no libraries.
sys.path[0] = str(ROOT / "tests")
sys.path.insert(1, str(ROOT))

from gpu import results, steps
from gpu.work import Work

KIT = ROOT / "build" / "gpu-kit"
RESULTS = ROOT / "docs" / "results" / "gpu.json"
MODELS = ("simcnn", "resnet50")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/gpu", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        text = (run.__doc__ or "").splitlines()[0]
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    here = command("all", _all)
    _add_places(here, work=ROOT / "build" / "gpu-work")
    _add_choice(here)
    _add_step_options(here)
    run = command("steps", _steps)
    run.add_argument("names", nargs="+", choices=(steps.UNPACK.name, *steps.STEPS))
    _add_places(run, work=Path.home() / "gpu-kit")
    _add_choice(run)
    _add_step_options(run)
    one = command("step", _step)
    one.add_argument("name", choices=(steps.UNPACK.name, *steps.STEPS))
    one.add_argument("--seconds", type=float, required=True)
    _add_places(one, work=Path.home() / "gpu-kit")
    _add_step_options(one)
    pack = command("pack", _pack)
    pack.add_argument("--upload-mb", type=float, help="megabytes of an upload")
    pack.add_argument("--minutes", type=float, help="minutes of the rented machine")
    pack.add_argument("--data-dir", type=Path, help="CIFAR-10's .bin files; default: $CIFAR10_DIR")
    pack.add_argument("--output", type=Path, default=KIT)
    pack.add_argument(
        "--installed-runtime",
        action="store_true",
        help="for a rehearsal on the CPU: this environment's ONNX Runtime, and no wheels",
    )
    for name, move in (("aside", _aside), ("back", _back)):
        command(name, move).add_argument("--kit", type=Path, default=KIT)
    for name, judge in (("export", _export), ("report", _report)):
        added = command(name, judge)
        added.add_argument("results", type=Path, help="folder with what came back")
        added.add_argument("--gpu-json", type=Path, default=RESULTS)
        added.add_argument("--data-dir", type=Path, help="CIFAR-10; default: $CIFAR10_DIR")
        added.add_argument("--models-dir", type=Path, default=ROOT / "build" / "gpu-models")
    return parser


def _add_places(parser: argparse.ArgumentParser, *, work: Path) -> None:
    parser.add_argument("--work", type=Path, default=work, help="what the steps unpack and make")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu-results")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=steps.MINUTES, help="scales the limits")
    parser.add_argument(
        "--without", nargs="+", default=[], choices=tuple(steps.STEPS), help="steps to leave out"
    )


def _add_step_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--upload", type=Path, help="the upload to unpack")
    parser.add_argument(
        "--data-dir", type=Path, help="CIFAR-10; default: the kit's or $CIFAR10_DIR"
    )
    parser.add_argument("--models", nargs="*", default=[], help="names of models; default: all")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a rehearsal")


def _all(given: argparse.Namespace) -> int:
    """Run every step on this machine."""
    names = list(steps.STEPS)
    # Here any number of files of any size comes back, so the weights stay as they are.
    everything = {"files": 1 << 20, "file_bytes": 1 << 40, "total_bytes": 1 << 50}
    given.work.mkdir(parents=True, exist_ok=True)
    plan = {"commit": None, "download": everything | {"weights": "float32"}}
    results.write_json(given.work / "plan.json", plan)
    if not _data_dir(given):
        print("no training: it needs CIFAR-10, set CIFAR10_DIR or pass --data-dir", flush=True)
        names = [name for name in names if name not in MODELS]
    return _run(given, names)


def _steps(given: argparse.Namespace) -> int:
    """Run steps one after another, each within its time limit."""
    return _run(given, given.names)


def _run(given: argparse.Namespace, names: list[str]) -> int:
    names = [name for name in names if name not in given.without]
    if given.models:
        names = [name for name in names if name not in MODELS or name in given.models]
    output = given.output.resolve()
    arguments = ["--device", given.device, "--work", str(given.work.resolve())]
    arguments += ["--output", str(output), *(["--small"] if given.small else [])]
    for name in ("upload", "data_dir"):
        if path := getattr(given, name):
            arguments += [f"--{name.replace('_', '-')}", str(path.resolve())]
    if given.models:
        arguments += ["--models", *given.models]
    work = Work(given.work.resolve())
    outcomes = steps.run(names, arguments, work, output, minutes=given.minutes)
    print(steps.summary(outcomes, output))
    return 0 if all(outcome == "ok" for outcome in outcomes.values()) else 1


def _step(given: argparse.Namespace) -> int:
    """Run one step in this process, without a limit."""
    from gpu import one_step  # noqa: PLC0415 - its imports need what `unpack` installs

    return one_step.run(given, Work(given.work.resolve()), _data_dir(given))


def _data_dir(given: argparse.Namespace) -> Path | None:
    named = given.data_dir or os.environ.get("CIFAR10_DIR")
    return Path(named).resolve() if named else None


def _pack(given: argparse.Namespace) -> int:
    """Pack a kit for a rented machine."""
    from gpu.kit import pack, target  # noqa: PLC0415 - the rented machine lacks its packages

    began = time.monotonic()
    machine = target.read(upload_megabytes=given.upload_mb, minutes=given.minutes)
    data_dir = _data_dir(given)
    if data_dir is None:
        msg = "the kit needs CIFAR-10: set CIFAR10_DIR, or pass --data-dir"
        raise ValueError(msg)
    uploads = pack.pack(
        machine,
        given.output,
        data_dir=data_dir,
        installed_runtime=given.installed_runtime,
        wheels=() if given.installed_runtime else None,
    )
    print(pack.describe(uploads, machine, began))
    return 0


def _aside(given: argparse.Namespace) -> int:
    """Move the checkout's large files out of the way of an upload."""
    from gpu.kit import tree  # noqa: PLC0415

    print("moved:", *tree.put_aside(ROOT, given.kit / "aside"))
    return 0


def _back(given: argparse.Namespace) -> int:
    """Move the large files back."""
    from gpu.kit import tree  # noqa: PLC0415

    print("moved back:", *tree.put_back(ROOT, given.kit / "aside"))
    return 0


def _export(given: argparse.Namespace) -> int:
    """Put the runs that came back together again, and export them behind the gate."""
    from gpu import exported  # noqa: PLC0415 - imports Keras

    found = exported.names(given.results)
    if not found:
        print(f"{given.results} has no run: nothing to export")
        return 0
    good = exported.run(found, given.results, given.models_dir, _data_dir(given))
    return 0 if good else 1


def _report(given: argparse.Namespace) -> int:
    """Merge the results that came back into docs/results/gpu.json."""
    published = given.gpu_json.resolve() == RESULTS
    merged = results.merge(given.results, given.gpu_json, rehearsal=not published)
    print(json.dumps({"merged": merged, "file": str(given.gpu_json)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
