"""The steps by name: what each of them runs, and the tiny sizes of a rehearsal."""

import argparse
from pathlib import Path
from typing import Any

from gpu import steps
from gpu.machine import ROOT
from gpu.work import Work

# Time of a training's step that is left for packing the weights.
_PACKING_SECONDS, _PACKING_SHARE = 8.0, 0.06
# A rehearsal runs every line of the steps, but measures nothing that means anything.
_SMALL_BATCHES = (1, 32, 64)
_SMALL_SECONDS = 0.02
_SMALL_FLAGS = ("--recipe", "best", "--batch-size", "32")


def run(given: argparse.Namespace, work: Work, data_dir: Path | None) -> int:
    """Run the step that the command line names; return its exit code."""
    if given.name == steps.UNPACK.name:
        return _unpack(given, work)
    if given.name == "deliver":
        return _deliver(given, work)
    from gpu.results import Results  # noqa: PLC0415 - after `unpack` has installed packages

    commit = work.plan().get("commit")
    outcome = Results(given.name, given.output, device=given.device, commit=commit)
    step = {"check": _check, "raw": _raw, "server": _server}.get(given.name, _train)
    step(given, work, outcome, _data(work, data_dir))
    outcome.finish()
    return 0 if outcome.ok else 1


def _data(work: Work, data_dir: Path | None) -> Path | None:
    """Return the folder of CIFAR-10: the one given, else the kit's if it is complete."""
    complete = len(list(work.data.glob("*.bin"))) == 6
    return data_dir or (work.data if complete else None)


def _unpack(given: argparse.Namespace, work: Work) -> int:
    from gpu.kit import uploads  # noqa: PLC0415

    print("complete:", *uploads.unpack(given.upload, work), flush=True)
    return 0


def _make_models(work: Work, names: list[str]) -> None:
    """Make the folder of models from the checkout's graphs and the uploaded ones."""
    from gpu import graphs  # noqa: PLC0415

    graphs.prepare(work.models, [ROOT / "models", work.large_graphs], names)


def _check(given: argparse.Namespace, work: Work, outcome: Any, data_dir: Path | None) -> None:
    from gpu import check, pictures  # noqa: PLC0415

    _make_models(work, given.models)
    images, labels = pictures.labelled_images(data_dir, work.mosaics)
    check.run(work.models, images, labels, outcome, device=given.device)


def _raw(given: argparse.Namespace, work: Work, outcome: Any, _: Path | None) -> None:
    from gpu import graphs, raw_runtime  # noqa: PLC0415

    _make_models(work, given.models)
    small: dict[str, Any] = (
        {"batches": _SMALL_BATCHES, "seconds": _SMALL_SECONDS} if given.small else {}
    )
    raw_runtime.run(
        graphs.distinct(graphs.find(work.models)), outcome, device=given.device, **small
    )


def _server(given: argparse.Namespace, work: Work, outcome: Any, _: Path | None) -> None:
    from gpu import server_load  # noqa: PLC0415

    _make_models(work, given.models)
    small: dict[str, Any] = {}
    if given.small:
        loads = (server_load.Load(rows=1, processes=1, in_flight=1),)
        settings = dict(list(server_load.SETTINGS.items())[:2])
        small = {"loads": loads, "settings": settings, "batches": (1, 32), "seconds": 0.2}
    server_load.run(work.models, outcome, device=given.device, **small)


def _train(given: argparse.Namespace, work: Work, outcome: Any, data_dir: Path | None) -> None:
    from gpu import carried_run, training_runs  # noqa: PLC0415
    from gpu.kit import target  # noqa: PLC0415

    if data_dir is None:
        outcome.add({"model": given.name, "error": "CIFAR-10 has not arrived completely"})
        return
    small: dict[str, Any] = {"flags": _SMALL_FLAGS, "most_epochs": 1} if given.small else {}
    run_dir = training_runs.run(
        given.name,
        outcome,
        runs=work.runs,
        data_dir=data_dir,
        seconds=given.seconds - max(_PACKING_SECONDS, _PACKING_SHARE * given.seconds),
        device=given.device,
        **small,
    )
    if run_dir:
        limits = work.plan().get("download") or vars(target.read().download)
        carried_run.pack(
            run_dir, work.outbox, weights=limits["weights"], part_bytes=limits["file_bytes"]
        )


def _deliver(given: argparse.Namespace, work: Work) -> int:
    from gpu.kit import outbox, target  # noqa: PLC0415

    limits = work.plan().get("download") or vars(target.read().download)
    moved, left = outbox.deliver(
        work.outbox,
        given.output,
        files=limits["files"],
        total_bytes=limits["total_bytes"],
    )
    print("delivered:", *moved, flush=True)
    print("left for another `deliver`:", *left, flush=True)
    return 0
